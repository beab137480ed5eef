"""AlignRec, its recommendation part (Liu et al., 2024; docs/models.md#alignrec)."""

import torch
from torch import Tensor, nn

from trainer import losses
from trainer.model_settings import AlignRecSettings
from trainer.models.base import Factors, Inputs, scores
from trainer.models.propagation import OverInteractions, exact_factors, smoothed
from trainer.parallel import WHOLE, Share

MODALITY = "multimodal"
TEMPERATURE = 0.2  # fixed in the reference; the tau of its settings is not read


class AlignRec(OverInteractions):
    """ID embeddings plus gated ones smoothed over the graph of fused features, aligned with each other."""

    def __init__(self, settings: AlignRecSettings, inputs: Inputs, *, batch_size: int) -> None:
        super().__init__(inputs, settings.embedding_size, settings.n_layers)
        self._settings, self._batch_size = settings, batch_size
        features, size = inputs.features[MODALITY], settings.embedding_size
        self.features = nn.Parameter(features.clone())
        self.refine = nn.Linear(features.shape[1], size)
        self.gate = nn.Linear(size, size)

    def _content(self) -> Tensor:
        """h = O^n (Q * sigma(gate(Lin f))). (n_items, d)."""
        gated = self.item_embedding * torch.sigmoid(self.gate(self.refine(self.features)))
        return smoothed(self._inputs.item_graphs[MODALITY], gated, self._settings.n_item_layers)

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking and its two extras, contrast of content with IDs on both sides, and the features' similarity."""
        settings, ids, content = self._settings, self._propagate(), self._content()
        content_users = self._inputs.interactions @ content
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        user = (ids.users + content_users)[users[own]]
        items = ids.items + content
        positive, negative = items[positives[own]], items[negatives[own]]
        ranked = losses.bpr(scores(user, positive), scores(user, negative))
        terms = {
            "bpr": fraction * ranked,
            "user_item": fraction * settings.user_item_weight * losses.cosine_gap(user, positive),
            "l2": settings.l2_weight * losses.squared_norms(user, positive, negative, batch_size=self._batch_size),
        }
        weight = settings.contrast_weight
        return terms | share.take(
            {
                "contrast_items": lambda: weight * losses.info_nce_of(positives, content, ids.items, TEMPERATURE),
                "contrast_users": lambda: weight * losses.info_nce_of(users, content_users, ids.users, TEMPERATURE),
                "similarity": lambda: settings.similarity_weight * self._similarity(content, positives),
            }
        )

    def _similarity(self, content: Tensor, positives: Tensor) -> Tensor:
        """SIM: the raw features of the reference share storage with its trained table, and drift with it."""
        rows, counts = torch.unique(positives, return_counts=True)
        raw = nn.functional.normalize(self.features[rows].detach())
        return losses.similarity_gap_frobenius(content[rows], raw, counts)

    def factors(self) -> Factors:
        """Parts `id` and `multimodal`."""
        ids, content, n_terms = self._propagate(), self._content(), self._settings.n_layers + 1
        return exact_factors(
            ids.users + self._inputs.interactions @ content,
            {"id": ids.items, MODALITY: content},
            own=self.user_embedding / n_terms,
            handed=ids.item_layers_below_last / n_terms + content,
            inputs=self._inputs,
        )
