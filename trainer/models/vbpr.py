"""VBPR (He and McAuley, 2016; MODELS.md 3.3)."""

import torch
from torch import Tensor, nn

from trainer import losses
from trainer.model_settings import VBPRSettings
from trainer.models.base import Factors, Inputs, Recommender, present, projection, scores, table
from trainer.models.propagation import free_users
from trainer.parallel import WHOLE, Share


class VBPR(Recommender):
    """BPR whose item is a free embedding beside a projection of its fixed features: [I ; Lin(f)]."""

    def __init__(self, settings: VBPRSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs
        self.modalities = present(settings.modalities, inputs)
        size = settings.embedding_size
        self.user_embedding = table(inputs.n_users, 2 * size)
        self.item_embedding = table(inputs.n_items, size)
        self.projection = projection(sum(inputs.features[m].shape[1] for m in self.modalities), size)
        nn.init.zeros_(self.projection.bias)

    def _items(self, rows: Tensor | slice) -> Tensor:
        """(len(rows), 2 d)."""
        features = torch.cat([self._inputs.features[m][rows] for m in self.modalities], dim=1)
        return torch.cat([self.item_embedding[rows], self.projection(features)], dim=1)

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking, and the norms of the batch's rows with their projected half."""
        user, positive, negative = self.user_embedding[users], self._items(positives), self._items(negatives)
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        ranked = losses.bpr_clipped(scores(user[own], positive[own]), scores(user[own], negative[own]))
        return {"bpr": fraction * ranked} | share.take(
            {"reg": lambda: self._settings.reg_weight * losses.frobenius_penalty(user, positive, negative)}
        )

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Free users, and items of both halves."""
        return self.user_embedding, self._items(slice(None))

    def factors(self) -> Factors:
        """Parts `id` (with the projection's bias, which says nothing of an item) and one a modality."""
        widths = [self._inputs.features[m].shape[1] for m in self.modalities]
        free, nothing = self.item_embedding, torch.zeros_like(self.item_embedding)
        parts = {"id": torch.cat([free, self.projection.bias.expand_as(free)], dim=1)}
        for modality, weight in zip(self.modalities, torch.split(self.projection.weight, widths, dim=1), strict=True):
            parts[modality] = torch.cat([nothing, self._inputs.features[modality] @ weight.T], dim=1)
        return free_users(self.user_embedding, parts, self._inputs)
