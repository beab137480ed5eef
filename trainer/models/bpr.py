"""BPR matrix factorisation (Rendle et al., 2012; MODELS.md 3.1)."""

import torch
from torch import Tensor, nn

from trainer import losses
from trainer.model_settings import BPRSettings
from trainer.models.base import Factors, Inputs, Recommender, scores
from trainer.parallel import WHOLE, Share


class BPR(Recommender):
    """Two tables of free embeddings."""

    def __init__(self, settings: BPRSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings = settings
        self.user_embedding = _normal_table(inputs.n_users, settings.embedding_size)
        self.item_embedding = _normal_table(inputs.n_items, settings.embedding_size)

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking and the norms of the batch's rows."""
        user = self.user_embedding[users]
        positive, negative = self.item_embedding[positives], self.item_embedding[negatives]
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        differ = scores(user[own], positive[own]), scores(user[own], negative[own])
        return {"bpr": fraction * losses.bpr_clipped(*differ)} | share.take(
            {"reg": lambda: self._settings.reg_weight * losses.frobenius_penalty(user, positive, negative)}
        )

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """The tables themselves."""
        return self.user_embedding, self.item_embedding

    def factors(self) -> Factors:
        """A free user embedding is all the user's own: one interaction more adds nothing to it."""
        return Factors(
            user_embeddings=self.user_embedding,
            item_parts={"id": self.item_embedding},
            user_own=self.user_embedding,
            fold_in=torch.zeros_like(self.item_embedding),
        )


def _normal_table(rows: int, size: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(rows, size)))
