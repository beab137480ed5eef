"""AnchorRec ("Anchored Alignment", section 3): alignment to a multimodal anchor in a projection domain.

Each modality keeps an embedding of its own (`origin`), gated by the item's ID embedding and smoothed over the kNN
graph of its features. Alignment happens only between small MLP projections of these, so the origins stay apart.

The paper's model and the released code's are this one file under different settings (docs/anchorrec.md).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from trainer import losses
from trainer.device import Precision, products_in
from trainer.model_settings import SINGLE_MODALITIES, AnchorRecSettings
from trainer.models.base import (
    Factors,
    GradientModel,
    Inputs,
    available_modalities,
    scores,
    sum_tensors,
    xavier_table,
)
from trainer.models.propagation import Propagated, fold_in_rows, light_gcn
from trainer.parallel import WHOLE, Share

ANCHOR = "multimodal"


Deferred = dict[str, Callable[[], Tensor]]
"""Loss terms that only the rank that takes them computes."""


class Origins(NamedTuple):
    """Embeddings before projection and fusion."""

    ids: Propagated
    """h^id of users and items."""
    modalities: dict[str, Tensor]
    """h^m of items, (n_items, d) each."""


class AnchorRec(GradientModel):
    """The model over any subset of modalities; without any it is LightGCN with AlignRec's ranking extras.

    Args:
        settings: sizes, weights, and the choices by which paper and released code differ.
        inputs: graphs and features; the modalities are those that both settings and features name.
        batch_size: the configured batch size, by which the L2 term is divided.
        precision: of linear layers; what they return, and all else, is float32.
    """

    def __init__(
        self, settings: AnchorRecSettings, inputs: Inputs, *, batch_size: int, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self._settings, self._inputs, self._batch_size, self._precision = settings, inputs, batch_size, precision
        self.modalities = available_modalities(settings.modalities, inputs)
        size = settings.embedding_size
        widths = {m: inputs.features[m].shape[1] for m in self.modalities}
        self.user_embedding = xavier_table(inputs.n_users, size)
        self.item_embedding = xavier_table(inputs.n_items, size)
        self.refine = nn.ModuleDict({m: nn.Linear(widths[m], size) for m in self.modalities})
        self.gates = nn.ModuleDict({m: nn.Linear(size, size) for m in self.modalities})
        sources = {m: widths[m] if self._projects_features(m) else size for m in self.modalities}
        self.projections = nn.ModuleDict(
            {
                m: _mlp(width, size) if settings.project else nn.Identity()
                for m, width in {"id": size, **sources}.items()
            }
        )
        self.decoder = _mlp(size, size) if settings.correction_decoder else nn.Identity()
        self.features = nn.ParameterDict()
        if settings.train_features:
            self.features.update({m: nn.Parameter(inputs.features[m].clone()) for m in self.modalities})
        fixed = () if settings.train_features else self.modalities
        self._norms = {m: inputs.features[m].norm(dim=1, keepdim=True).clamp_min(1e-12) for m in fixed}
        # Rounded once: rounding at every step would cost as much as the faster products save.
        self._rounded = {m: inputs.features[m].to(getattr(torch, precision)) for m in self.modalities}

    # Features

    def _features_of(self, modality: str) -> Tensor:
        """The refinement's features, (n_items, width): a parameter where the settings let training change them."""
        features: dict[str, Tensor] = {**self._rounded, **self.features}
        return features[modality]

    def _raw_features_of(self, modality: str, rows: Tensor | slice) -> Tensor:
        """What counts as given. The released code's raw features share storage with its trained tables and drift."""
        features: dict[str, Tensor] = {**self._inputs.features, **self.features}
        return features[modality][rows].detach()

    def _unit_features_of(self, modality: str, rows: Tensor) -> Tensor:
        """Unit rows of the batch's items: a second table of all items would cost more memory than this costs time."""
        raw = self._raw_features_of(modality, rows)  # a copy
        return normalize(raw) if self._settings.train_features else raw.div_(self._norms[modality][rows])

    # Origins: the paper's collaborative refinement, section 3.2

    def _origins(self) -> Origins:
        n_layers = self._settings.n_layers
        ids = light_gcn(self._inputs.interactions, self.user_embedding, self.item_embedding, n_layers)
        return Origins(ids, {m: self._refined(m) for m in self.modalities})

    def _refined(self, modality: str) -> Tensor:
        """h^m = O_m^n (Q * sigma(gate(Lin f))). (n_items, d)."""
        refined = self._through(self.refine[modality], self._features_of(modality))
        gate = torch.sigmoid(self._through(self.gates[modality], refined))
        refined = self.item_embedding * gate
        for _ in range(self._settings.n_item_layers):
            refined = self._inputs.item_graphs[modality] @ refined
        return refined

    def _through(self, layers: nn.Module, rows: Tensor) -> Tensor:
        with products_in(self._precision, rows.device):
            result: Tensor = layers(rows).float()
        return result

    # Fusion

    def _weight(self, part: str) -> float:
        weight: float = getattr(self._settings.fusion, part)
        return weight

    def _item_parts(self, origins: Origins) -> dict[str, Tensor]:
        """The weighted summands of h_i, without the correction."""
        parts = {"id": origins.ids.items, **origins.modalities}
        return {name: self._weight(name) * part for name, part in parts.items() if self._weight(name) > 0}

    def _modal_sum(self, origins: Origins) -> Tensor:
        """Sum of the weighted modality embeddings: what an item gives its users besides its ID. (n_items, d)."""
        parts = [part for name, part in self._item_parts(origins).items() if name != "id"]
        return sum_tensors(parts) if parts else torch.zeros_like(self.item_embedding)

    def _fused_users(self, origins: Origins) -> Tensor:
        """h_u: users have no features, so each modality's user side is aggregated from the user's items."""
        users = self._weight("id") * origins.ids.users
        return users + self._inputs.interactions @ self._modal_sum(origins)

    @property
    def _has_correction(self) -> bool:
        return ANCHOR in self.modalities and self._settings.correction_weight > 0

    def _correction(self, origins: Origins, rows: Tensor | slice) -> Tensor:
        """lambda p^mm of the given items: the anchor correction."""
        corrected = self._through(self.decoder, self._projected(ANCHOR, origins, rows))
        return self._settings.correction_weight * corrected

    # Projections

    def _projects_features(self, modality: str) -> bool:
        settings = self._settings
        return settings.project and settings.project_from == "features" and modality in SINGLE_MODALITIES

    def _projected(self, name: str, origins: Origins, rows: Tensor | slice) -> Tensor:
        """p^name of the given items. (len(rows), d)."""
        if self._projects_features(name):
            source = self._raw_features_of(name, rows)
        else:
            source = (origins.ids.items if name == "id" else origins.modalities[name])[rows]
        return self._through(self.projections[name], source)

    # Losses

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """L = BPR + AlignRec's ranking extras + lambda_1 AAL + lambda_2 AMP (paper, equation 1)."""
        origins = self._origins()
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        ranking = self._ranking_terms(origins, users[own], positives[own], negatives[own], fraction)
        distinct, counts = self._capped(*torch.unique(positives, return_counts=True))
        once = self._settings.distinct_items
        return ranking | share.take(
            self._aal_terms(origins, distinct if once else self._capped(positives)[0])
            | self._amp_terms(origins, distinct, None if once else counts)
            | self._smoothness_term(origins)
        )

    def _capped(self, *columns: Tensor) -> tuple[Tensor, ...]:
        """Parallel (n,) tensors, of which evenly spaced `aligned_items` where there are more."""
        n, limit = len(columns[0]), self._settings.aligned_items
        if n <= limit:
            return columns
        kept = torch.linspace(0, n - 1, limit, dtype=torch.float64, device=columns[0].device).long()
        return tuple(column[kept] for column in columns)

    def _ranking_terms(
        self, origins: Origins, users: Tensor, positives: Tensor, negatives: Tensor, fraction: float
    ) -> dict[str, Tensor]:
        """Ranking terms of these examples; means are weighted by their fraction of the batch."""
        settings = self._settings
        fused_items = sum_tensors(self._item_parts(origins).values())
        user = self._fused_users(origins)[users]
        positive, negative = fused_items[positives], fused_items[negatives]
        if self._has_correction:
            positive = positive + self._correction(origins, positives)
            negative = negative + self._correction(origins, negatives)
        if settings.user_item_form == "margin":
            user_item = losses.cosine_margin(user, positive, negative)
        else:
            user_item = losses.cosine_gap(user, positive)
        l2 = losses.squared_norms(user, positive, negative, batch_size=self._batch_size)
        return {
            "bpr": fraction * losses.bpr(scores(user, positive), scores(user, negative)),
            "user_item": fraction * settings.user_item_weight * user_item,
            "l2": settings.l2_weight * l2,
        }

    def _aal_terms(self, origins: Origins, rows: Tensor) -> Deferred:
        """Anchor-aligned learning (paper, equation 2): ID and text-image mixture towards the anchor."""
        weight, detached = self._settings.aal_weight, self._settings.detach_anchor
        if ANCHOR not in self.modalities or weight == 0:
            return {}
        anchor = self._projected(ANCHOR, origins, rows)
        target_of_ids = anchor.detach() if detached == "both" else anchor
        terms = {"aal_id": lambda: weight * self._align(self._projected("id", origins, rows), target_of_ids)}
        if any(m in self.modalities for m in SINGLE_MODALITIES):
            target = anchor if detached == "none" else anchor.detach()
            terms["aal_mixture"] = lambda: weight * self._align(self._mixture(origins, rows), target)
        return terms

    def _mixture(self, origins: Origins, rows: Tensor) -> Tensor:
        """p^tv = alpha p^t + (1 - alpha) p^v; one of them alone where the other is missing."""
        projected = [self._projected(m, origins, rows) for m in SINGLE_MODALITIES if m in self.modalities]
        if len(projected) == len(SINGLE_MODALITIES):
            share = self._settings.text_share
            return share * projected[0] + (1 - share) * projected[1]
        return projected[0]

    def _align(self, rows: Tensor, anchor: Tensor) -> Tensor:
        direction, temperature = self._settings.aal_direction, self._settings.temperature
        if direction == "from_anchor":
            rows, anchor = anchor, rows
        return losses.info_nce(rows, anchor, temperature, both_directions=direction == "both")

    def _amp_terms(self, origins: Origins, rows: Tensor, counts: Tensor | None) -> Deferred:
        """Anchor-modality preservation (paper, equation 3), one term a modality."""
        settings = self._settings
        gap = losses.similarity_gap if settings.amp_form == "cosine" else losses.similarity_gap_frobenius
        weights: dict[str, float] = {
            m: settings.amp_weight * getattr(settings.amp_modality_weights, m) for m in self.modalities
        }

        def term(modality: str) -> Tensor:
            raw = self._unit_features_of(modality, rows)
            return weights[modality] * gap(origins.modalities[modality][rows], raw, counts)

        return {f"amp_{m}": partial(term, m) for m, weight in weights.items() if weight > 0}

    def _smoothness_term(self, origins: Origins) -> Deferred:
        weight = self._settings.smoothness_weight
        if ANCHOR not in self.modalities or weight == 0:
            return {}
        graph, anchor = self._inputs.item_graphs[ANCHOR], origins.modalities[ANCHOR]
        sums, n_entries = graph.row_and_column_sums, graph.n_entries
        return {"smoothness": lambda: weight * losses.smoothness(anchor, graph @ anchor, sums, n_entries)}

    # What leaves the model

    def factors(self) -> Factors:
        """Parts id, multimodal, text, image, anchor; exact fold-in (docs/anchorrec.md#equations)."""
        origins = self._origins()
        n_terms = self._settings.n_layers + 1
        parts = self._item_parts(origins)
        if self._has_correction:
            parts["anchor"] = self._correction(origins, slice(None))
        handed = self._weight("id") * origins.ids.item_layers_below_last / n_terms + self._modal_sum(origins)
        return Factors(
            user_embeddings=self._fused_users(origins),
            item_parts=parts,
            user_own=self._weight("id") * self.user_embedding / n_terms,
            fold_in=fold_in_rows(handed, self._inputs.item_degrees),
        )

    def both_sides(self, name: str) -> Tensor:
        """h^id or h^m of all users, then of all items: (n_users + n_items, d)."""
        if name == "id":
            ids = self._origins().ids
            return torch.cat([ids.users, ids.items])
        items = self._refined(name)
        return torch.cat([self._inputs.interactions @ items, items])

    def projected(self) -> dict[str, Tensor]:
        """p^id and p^m of all items, (n_items, d) each: what alignment acts on."""
        origins = self._origins()
        return {name: self._projected(name, origins, slice(None)) for name in ("id", *self.modalities)}


def _mlp(width: int, size: int) -> nn.Sequential:
    """Linear-ReLU-Linear with Xavier-uniform weights, as the released code initialises its projections."""
    mlp = nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, size))
    for layer in mlp:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return mlp
