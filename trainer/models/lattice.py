"""LATTICE over LightGCN (Zhang et al., 2021; docs/models.md#lattice)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize

from trainer import losses
from trainer.model_settings import LATTICESettings
from trainer.models.base import (
    Factors,
    GradientModel,
    Inputs,
    available_modalities,
    scores,
    sum_tensors,
    xavier_table,
)
from trainer.models.propagation import approximate_factors, sums_over_items, sums_over_users
from trainer.nearest import nearest_items
from trainer.parallel import WHOLE, Share


class LearnedGraph(NamedTuple):
    """S = (1 - lambda) norm(sum of w_m W_m) + lambda sum of w_m O_m, by modality; 2 k entries a row and modality."""

    shares: Tensor
    """w (n_modalities,)."""
    neighbours: list[Tensor]
    """(n_items, k) rows of W_m."""
    values: list[Tensor]
    """(n_items, k) entries of W_m, normalised and weighted with w_m."""

    def detached(self) -> "LearnedGraph":
        """The graph without gradient."""
        return LearnedGraph(self.shares.detach(), self.neighbours, [values.detach() for values in self.values])


class LATTICE(GradientModel):
    """Item graphs of projected features, rebuilt with gradient in the first batch of an epoch, then kept."""

    def __init__(self, settings: LATTICESettings, inputs: Inputs, *, batch_size: int) -> None:
        super().__init__()
        self._settings, self._inputs, self._batch_size = settings, inputs, batch_size
        self.modalities = available_modalities(settings.modalities, inputs)
        size = settings.embedding_size
        self.user_embedding = xavier_table(inputs.n_users, size)
        self.item_embedding = xavier_table(inputs.n_items, size)
        self.features = nn.ParameterDict({m: nn.Parameter(inputs.features[m].clone()) for m in self.modalities})
        self.projections = nn.ModuleDict({m: nn.Linear(inputs.features[m].shape[1], size) for m in self.modalities})
        self.modal_weight = nn.Parameter(torch.full((len(self.modalities),), 0.5))
        self._kept: LearnedGraph | None = None

    def begin_epoch(self) -> None:
        """Let the next batch rebuild the graph."""
        self._kept = None

    def _learned_graph(self) -> LearnedGraph:
        """Which items are neighbours carries no gradient; how near they are, the shares and the scaling do."""
        shares, neighbours, cosines = self.modal_weight.softmax(dim=0), [], []
        for modality in self.modalities:
            rows = normalize(self.projections[modality](self.features[modality]), eps=1e-12)
            nearest = nearest_items(rows.detach().cpu().numpy(), self._settings.k)
            near = torch.from_numpy(nearest.rows).to(rows.device)  # (n_items, k)
            neighbours.append(near)
            cosines.append((rows[:, None] * rows[near]).sum(dim=2))
        weighted = [share * values for share, values in zip(shares, cosines, strict=True)]
        scale = sum_tensors(values.sum(dim=1) for values in weighted).rsqrt().nan_to_num(0.0, posinf=0.0)
        scaled = [scale[:, None] * values * scale[near] for values, near in zip(weighted, neighbours, strict=True)]
        return LearnedGraph(shares, neighbours, scaled)

    def _content(self, graph: LearnedGraph) -> Tensor:
        """h = S^n Q. (n_items, d)."""
        given: float = self._settings.given_share
        rows: Tensor = self.item_embedding
        for _ in range(self._settings.n_item_layers):
            learned = [
                embedding_bag(near, rows, per_sample_weights=values, mode="sum")
                for near, values in zip(graph.neighbours, graph.values, strict=True)
            ]
            raw = [
                share * (self._inputs.item_graphs[m] @ rows)
                for m, share in zip(self.modalities, graph.shares, strict=True)
            ]
            rows = (1.0 - given) * sum_tensors(learned) + given * sum_tensors(raw)
        return rows

    def _propagate(self) -> tuple[Tensor, Tensor]:
        """The mean of layers over the random walk with self-loops: (A + I) x over the degree plus one."""
        inputs = self._inputs
        layers: list[tuple[Tensor, Tensor]] = [(self.user_embedding, self.item_embedding)]
        for _ in range(self._settings.n_layers):
            users, items = layers[-1]
            next_users = (users + sums_over_items(inputs, items)) / (inputs.user_degrees + 1)[:, None]
            next_items = (items + sums_over_users(inputs, users)) / (inputs.item_degrees + 1)[:, None]
            layers.append((next_users, next_items))
        return sum_tensors(users for users, _ in layers) / len(layers), sum_tensors(items for _, items in layers) / len(
            layers
        )

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking and the squared norms of the final rows."""
        graph = self._kept
        if graph is None:
            graph = self._learned_graph()
            self._kept = graph.detached()
        all_users, ids = self._propagate()
        items, own, fraction = ids + normalize(self._content(graph)), share.rows(len(users)), share.fraction(len(users))
        rows = all_users[users[own]], items[positives[own]], items[negatives[own]]
        ranked = losses.bpr(scores(rows[0], rows[1]), scores(rows[0], rows[2]))
        l2 = losses.squared_norms(*rows, batch_size=self._batch_size)
        return {"bpr": fraction * ranked, "l2": self._settings.l2_weight * l2}

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Embeddings over the graph of the current weights."""
        users, ids = self._propagate()
        return users, ids + normalize(self._content(self._learned_graph()))

    def factors(self) -> Factors:
        """Parts `id` and `multimodal` (over the graph of both modalities); folding in is an approximation."""
        users, ids = self._propagate()
        parts = {"id": ids, "multimodal": normalize(self._content(self._learned_graph()))}
        return approximate_factors(users, parts, ids, self._inputs)
