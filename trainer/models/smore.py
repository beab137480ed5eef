"""SMORE (Ong and Khong, 2025; docs/models.md#smore)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer import losses
from trainer.model_settings import SMORESettings
from trainer.models.base import Factors, Inputs, scores, sum_tensors
from trainer.models.propagation import OverInteractions, approximate_factors, smoothed
from trainer.parallel import WHOLE, Share

MODALITIES = ("image", "text")
FUSED = "multimodal"
VIEWS = (*MODALITIES, FUSED)
TEMPERATURE = 0.2  # fixed in the reference; its setting is not read


class SMORE(OverInteractions):
    """ID embeddings plus views of text, image and their product in the frequency domain, weighed by preference."""

    def __init__(self, settings: SMORESettings, inputs: Inputs, *, batch_size: int) -> None:
        super().__init__(inputs, settings.embedding_size, settings.n_layers)
        self._settings, self._batch_size = settings, batch_size
        size = settings.embedding_size
        self.features = nn.ParameterDict({m: nn.Parameter(inputs.features[m].clone()) for m in MODALITIES})
        self.projections = nn.ModuleDict({m: nn.Linear(inputs.features[m].shape[1], size) for m in MODALITIES})
        self.filters = nn.ParameterDict({v: nn.Parameter(torch.randn(1, size // 2 + 1, 2)) for v in VIEWS})
        self.gates = nn.ModuleDict({v: nn.Linear(size, size) for v in VIEWS})
        self.preferences = nn.ModuleDict({v: nn.Linear(size, size) for v in VIEWS})
        self.queries = nn.ModuleDict({m: _query(size) for m in MODALITIES})

    def _filtered(self) -> dict[str, Tensor]:
        """Each view's spectrum times its learned filter, back in the plain domain. (n_items, d) each."""
        size = self._settings.embedding_size
        spectra = {m: torch.fft.rfft(self.projections[m](self.features[m]), norm="ortho") for m in MODALITIES}
        spectra[FUSED] = spectra["text"] * spectra["image"]
        weights = {v: torch.view_as_complex(self.filters[v]) for v in VIEWS}
        return {v: torch.fft.irfft(spectra[v] * weights[v], n=size, norm="ortho") for v in VIEWS}

    def _views(self) -> dict[str, Tensor]:
        """M_v = [R-hat H_v ; H_v], H_v = O_v^n (Q * sigma(gate_v(c_v))). (n_users + n_items, d) each."""
        inputs, views = self._inputs, {}
        for view, filtered in self._filtered().items():
            gated = self.item_embedding * torch.sigmoid(self.gates[view](filtered))
            items = smoothed(inputs.item_graphs[view], gated, self._settings.n_item_layers)
            views[view] = torch.cat([inputs.interactions @ items, items])
        return views

    def _side_parts(self, ids: Tensor, rows: Tensor | None = None) -> dict[str, Tensor]:
        """What each view adds to given rows, or all: preference times (for a modality: attended) rows, over three."""
        views = self._views()
        chosen = ids if rows is None else ids[rows]
        preferences = {v: torch.sigmoid(self.preferences[v](chosen)) for v in VIEWS}
        if rows is not None:
            views = {v: view[rows] for v, view in views.items()}
        if rows is not None and self.training:
            rate = self._settings.dropout
            preferences = {v: weight * self.noise.dropout_rows(ids, rows, rate) for v, weight in preferences.items()}
        attended = {m: self.queries[m](views[FUSED]).softmax(dim=1) * views[m] for m in MODALITIES}
        return {v: preferences[v] * view / len(VIEWS) for v, view in {**views, **attended}.items()}

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking, squared norms of the final rows, contrast of side with ID embeddings on both sides."""
        settings, n_users = self._settings, self._inputs.n_users
        all_ids = torch.cat(self._propagate()[:2])
        columns = torch.stack([users, n_users + positives, n_users + negatives])
        distinct, places = torch.unique(columns, return_inverse=True)
        ids, side = all_ids[distinct], sum_tensors(self._side_parts(all_ids, distinct).values())
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        user, positive, negative = (ids + side)[places[:, own]]
        ranked = losses.bpr(scores(user, positive), scores(user, negative))
        l2, weight = (
            losses.squared_norms(user, positive, negative, batch_size=self._batch_size),
            settings.contrast_weight,
        )
        return {"bpr": fraction * ranked, "l2": settings.l2_weight * l2} | share.take(
            {
                "contrast_items": lambda: weight * losses.info_nce_of(places[1], side, ids, TEMPERATURE),
                "contrast_users": lambda: weight * losses.info_nce_of(places[0], side, ids, TEMPERATURE),
            }
        )

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """C + side."""
        users, parts = self._final()
        return users, sum_tensors(parts.values())

    def factors(self) -> Factors:
        """Parts `id`, `image`, `text`, `multimodal`; a user's side is no sum over items, so folding in approximates."""
        users, parts = self._final()
        return approximate_factors(users, parts, sum_tensors(parts.values()), self._inputs)

    def _final(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        ids, n_users = self._propagate(), self._inputs.n_users
        sides = self._side_parts(torch.cat([ids.users, ids.items]))
        users = ids.users + sum_tensors(sides.values())[:n_users]
        return users, {"id": ids.items, **{view: side[n_users:] for view, side in sides.items()}}


def _query(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, size, bias=False))
