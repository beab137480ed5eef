"""LGMRec over LightGCN (Guo et al., 2024; docs/models.md#lgmrec)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from trainer import losses
from trainer.model_settings import LGMRecSettings
from trainer.models.base import Factors, Inputs, scores, sum_tensors, xavier_table
from trainer.models.propagation import OverInteractions, approximate_factors, sums_over_items
from trainer.parallel import WHOLE, Share

MODALITIES = ("image", "text")
TEMPERATURE = 0.2


class Sides(NamedTuple):
    """Rows of users and of items."""

    users: Tensor
    items: Tensor


class LGMRec(OverInteractions):
    """Local embeddings of IDs and modalities, and global ones through a few latent hyperedges a modality.

    The reference draws the hyperedges' Gumbel noise at inference as well, so that its results are random. Here only
    training has the noise; evaluation and export use the model without it.
    """

    def __init__(self, settings: LGMRecSettings, inputs: Inputs) -> None:
        super().__init__(inputs, settings.embedding_size, settings.n_layers)
        self._settings = settings
        size, widths = settings.embedding_size, {m: inputs.features[m].shape[1] for m in MODALITIES}
        self.projections = nn.ParameterDict({m: xavier_table(widths[m], size) for m in MODALITIES})
        self.hyperedges = nn.ParameterDict({m: xavier_table(widths[m], settings.n_hyperedges) for m in MODALITIES})

    # Local: collaborative and modality graphs

    def _mapped(self) -> dict[str, tuple[Sides, Sides]]:
        """Features mapped into the embeddings' space and onto hyperedges, in one product, and their sums by user."""
        inputs, size, mapped = self._inputs, self._settings.embedding_size, {}
        for modality in MODALITIES:
            weights = torch.cat([self.projections[modality], self.hyperedges[modality]], dim=1)
            items = inputs.features[modality] @ weights
            users = sums_over_items(inputs, items)
            mapped[modality] = Sides(users[:, :size], items[:, :size]), Sides(users[:, size:], items[:, size:])
        return mapped

    def _local(self, sums: Sides) -> Sides:
        """nu(A-hat^n [mean of the user's items ; f W]): the last layer alone."""
        inputs = self._inputs
        users, items = sums.users / (inputs.user_degrees + 1e-7)[:, None], sums.items
        for _ in range(self._settings.n_modal_layers):
            users, items = inputs.interactions @ items, inputs.interactions.T @ users
        return Sides(normalize(users), normalize(items))

    # Global: the hypergraph

    def _assignments(self, logits: dict[str, Sides]) -> dict[str, Sides]:
        """How much each item and user belongs to each hyperedge, (n, n_hyperedges), softened by noise in training."""
        # In the order of the reference's draws: items before users, all assignments before all dropout.
        raw = {m: Sides(items=self._soft(side.items), users=self._soft(side.users)) for m, side in logits.items()}
        return {m: Sides(items=self._dropped(side.items), users=self._dropped(side.users)) for m, side in raw.items()}

    def _soft(self, logits: Tensor) -> Tensor:
        drawn = self.training or self.noise.at_inference
        noisy = logits + self.noise.gumbel(logits) if drawn else logits
        return (noisy / TEMPERATURE).softmax(dim=1)

    def _dropped(self, rows: Tensor) -> Tensor:
        rate = 1.0 - self._settings.keep_rate
        return rows * self.noise.dropout(rows, rate) if self.training and rate > 0 else rows

    def _global(self, ids: Sides, logits: dict[str, Sides]) -> dict[str, Sides]:
        """Items gather into hyperedges, and hyperedges hand back to items and to users, layer by layer."""
        views = {}
        for modality, belongs in self._assignments(logits).items():
            items, users = ids.items, ids.users
            for _ in range(self._settings.n_hyper_layers):
                edges = belongs.items.T @ items  # (n_hyperedges, d)
                items, users = belongs.items @ edges, belongs.users @ edges
            views[modality] = Sides(users, items)
        return views

    def _parts(self) -> tuple[dict[str, Sides], dict[str, Sides]]:
        """The summands of the final embeddings, and the global views of each modality."""
        propagated, mapped = self._propagate(), self._mapped()
        ids = Sides(propagated.users, propagated.items)
        views = self._global(ids, {m: logits for m, (_, logits) in mapped.items()})
        weight = self._settings.global_weight
        whole = Sides(*(weight * normalize(sum_tensors(sides)) for sides in zip(*views.values(), strict=True)))
        return {"id": ids, **{m: self._local(sums) for m, (sums, _) in mapped.items()}, "multimodal": whole}, views

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking, contrast of the modalities' global views, and the norms of the final rows."""
        parts, views = self._parts()
        all_users, items = (sum_tensors(sides) for sides in zip(*parts.values(), strict=True))
        user, positive, negative = all_users[users], items[positives], items[negatives]
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        ranked = losses.bpr(scores(user[own], positive[own]), scores(user[own], negative[own]))
        image, text = (views[m] for m in MODALITIES)

        def contrast(rows: Tensor, images: Tensor, texts: Tensor) -> Tensor:
            agreed = losses.contrast_with_all(rows, images, texts, TEMPERATURE)
            return self._settings.contrast_weight * agreed

        return {"bpr": fraction * ranked} | share.take(
            {
                "contrast_users": lambda: contrast(users, image.users, text.users),
                "contrast_items": lambda: contrast(positives, image.items, text.items),
                "reg": lambda: self._settings.reg_weight * losses.frobenius_penalty(user, positive, negative),
            }
        )

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Local plus weighted global."""
        parts, _ = self._parts()
        users, items = (sum_tensors(sides) for sides in zip(*parts.values(), strict=True))
        return users, items

    def factors(self) -> Factors:
        """Parts `id`, `image`, `text` and `multimodal` (the hypergraph's); folding in is an approximation."""
        parts, _ = self._parts()
        users = sum_tensors(side.users for side in parts.values())
        items = {name: side.items for name, side in parts.items()}
        return approximate_factors(users, items, sum_tensors(items.values()), self._inputs)
