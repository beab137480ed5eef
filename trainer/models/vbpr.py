"""VBPR (He and McAuley, 2016; docs/models.md#vbpr)."""

import torch
from torch import Tensor, nn

from trainer import losses
from trainer.model_settings import VBPRSettings
from trainer.models.base import (
    Factors,
    GradientModel,
    Inputs,
    available_modalities,
    projection,
    scores,
    sum_tensors,
    xavier_table,
)
from trainer.models.propagation import free_users
from trainer.parallel import WHOLE, Share


class VBPR(GradientModel):
    """BPR whose item is a free embedding beside a projection of its fixed features: [I ; Lin(f)]."""

    def __init__(self, settings: VBPRSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs
        self.modalities = available_modalities(settings.modalities, inputs)
        size = settings.embedding_size
        self.user_embedding = xavier_table(inputs.n_users, 2 * size)
        self.item_embedding = xavier_table(inputs.n_items, size)
        self.projection = projection(sum(inputs.features[m].shape[1] for m in self.modalities), size)
        nn.init.zeros_(self.projection.bias)

    def _weights(self) -> dict[str, Tensor]:
        """The projection's columns of each modality. (d, width) each."""
        widths = [self._inputs.features[m].shape[1] for m in self.modalities]
        return dict(zip(self.modalities, torch.split(self.projection.weight, widths, dim=1), strict=True))

    def _items(self, rows: Tensor | None = None) -> Tensor:
        """Embeddings of the given items, or of all. (len(rows), 2 d)."""
        tables = {m: self._inputs.features[m] for m in self.modalities}
        if rows is not None:
            tables = {m: features.index_select(0, rows) for m, features in tables.items()}
        projected = sum_tensors(tables[m] @ weight.T for m, weight in self._weights().items()) + self.projection.bias
        free = self.item_embedding if rows is None else self.item_embedding[rows]
        return torch.cat([free, projected], dim=1)

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking, and the norms of the batch's rows with their projected half."""
        user = self.user_embedding[users]
        distinct, places = torch.unique(torch.stack([positives, negatives]), return_inverse=True)
        positive, negative = self._items(distinct)[places]
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        ranked = losses.bpr_clipped(scores(user[own], positive[own]), scores(user[own], negative[own]))
        return {"bpr": fraction * ranked} | share.take(
            {"reg": lambda: self._settings.reg_weight * losses.frobenius_penalty(user, positive, negative)}
        )

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Free users, and items of both halves."""
        return self.user_embedding, self._items()

    def factors(self) -> Factors:
        """Parts `id` (with the projection's bias, which is the same for all items) and one a modality."""
        free, nothing = self.item_embedding, torch.zeros_like(self.item_embedding)
        parts = {"id": torch.cat([free, self.projection.bias.expand_as(free)], dim=1)}
        for modality, weight in self._weights().items():
            parts[modality] = torch.cat([nothing, self._inputs.features[modality] @ weight.T], dim=1)
        return free_users(self.user_embedding, parts, self._inputs)
