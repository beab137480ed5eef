"""BPR matrix factorisation (Rendle et al., 2012; docs/models.md#bpr)."""

from torch import Tensor

from trainer import losses
from trainer.model_settings import BPRSettings
from trainer.models.base import Factors, GradientModel, Inputs, normal_table, scores
from trainer.models.propagation import free_users
from trainer.parallel import WHOLE, Share


class BPR(GradientModel):
    """Two tables of free embeddings."""

    def __init__(self, settings: BPRSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs
        self.user_embedding = normal_table(inputs.n_users, settings.embedding_size)
        self.item_embedding = normal_table(inputs.n_items, settings.embedding_size)

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
        return self.user_embedding, self.item_embedding

    def factors(self) -> Factors:
        """One part, `id`; users are free, so folding in is an approximation."""
        return free_users(self.user_embedding, {"id": self.item_embedding}, self._inputs)
