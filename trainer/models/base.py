"""The interface of all models, which the loop, the exporter and the evaluator use."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from index.recency import Recency
from trainer.graph import SparseMatrix, normalise_interactions
from trainer.histories import Histories
from trainer.models.noise import Noise
from trainer.parallel import WHOLE, Share

Scorer = Callable[[Tensor], Tensor]
"""Scores of all items for user rows: (m,) int64 -> (m, n_items)."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a model, on the device."""

    n_users: int
    n_items: int
    user_degrees: Tensor
    """(n_users,) training items of each user."""
    item_degrees: Tensor
    """(n_items,) training users of each item."""
    histories: Histories
    """The training interactions by user, oldest first, each once; among ranks, those of this one's users."""
    timed: bool
    """Whether the time of every interaction is known; else the order within a user says nothing."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """(n_items, width) per modality: float32, or as stored and memory-mapped where the model takes them in blocks."""
    item_graphs: Mapping[str, SparseMatrix] = field(default_factory=dict)
    """(n_items, n_items) graphs by name: of a modality's nearest items, or what else the model is built on."""
    graph_recall: Mapping[str, float] = field(default_factory=dict)
    """Share of the true neighbours that each of them has; 1 for an exact search."""
    share: Share = WHOLE
    """The rank whose users' interactions these are."""

    @cached_property
    def interactions(self) -> SparseMatrix:
        """R-hat (n_users, n_items): normalised training interactions; made when a model first needs them."""
        return SparseMatrix(normalise_interactions(self.histories.by_item()), self.item_degrees.device)

    @cached_property
    def pairs(self) -> Tensor:
        """(2, n_pairs) int64: user and item row of each training interaction, each once, by user and then item."""
        pairs = self.histories.by_item().tocoo()
        return torch.from_numpy(np.stack([pairs.row, pairs.col]).astype(np.int64)).to(self.item_degrees.device)


@dataclass(frozen=True)
class Anchor:
    """What predicts an item's embedding, its anchor, from its features alone (docs/bundle.md).

    anchor = mean + sum over modalities m of unit(features_m - centers[m]) @ weights[m]
    item = (1 - l) parts + l rho anchor,   l = kappa / (kappa + n_i)
    """

    mean: Tensor
    """(d,)"""
    weights: Mapping[str, Tensor]
    """(width, d) per modality."""
    centers: Mapping[str, Tensor]
    """(width,) per modality: the mean of the features' columns."""
    kappa: float
    rho: float


@dataclass(frozen=True)
class Factors:
    """A trained model taken apart exactly, as the bundle holds it (docs/bundle.md).

    item embedding = sum of the parts; user embedding = user_own + (sum of w)^-1/2 * sum of w * fold_in over the user's
    items, with the weights w of the recency; without it all are 1.
    """

    user_embeddings: Tensor
    """(n_users, d)"""
    item_parts: Mapping[str, Tensor]
    """(n_items, d) per part."""
    user_own: Tensor | None
    """(n_users, d); None: no user has an own term."""
    fold_in: Tensor
    """(n_items, d)"""
    fold_in_exact: bool = True
    """Whether one more interaction changes a user as the model itself would have it, the item side held fixed."""
    recency: Recency | None = None
    anchor: Anchor | None = None
    """Of a model that can embed an item by its features alone."""

    @property
    def item_embeddings(self) -> Tensor:
        """(n_items, d): the sum of the parts."""
        return sum_tensors(self.item_parts.values())


class RecommenderModel(nn.Module, ABC):
    """A model that scores items for users; one that is served scores by inner products of embeddings."""

    served_exactly: ClassVar[bool] = True
    """Whether `scorer` ranks by the embeddings; a model that does not is measured by both."""

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """User (n_users, d) and item (n_items, d) embeddings that are scored."""
        factors = self.factors()
        return factors.user_embeddings, factors.item_embeddings

    def scorer(self) -> Scorer:
        """What the evaluator ranks by; called without gradient."""
        return inner_products(*self.embeddings())

    def item_parts(self) -> Mapping[str, Tensor]:
        """(n_items, d) per part, as the factors have them; called without gradient."""
        return self.factors().item_parts

    @abstractmethod
    def factors(self) -> Factors:
        """Decompose the embeddings into Factors; called without gradient."""


class GradientModel(RecommenderModel):
    """A model that the training loop improves batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = Noise()

    def begin_epoch(self) -> None:
        """Redraw or rebuild what the model needs once an epoch; most models need nothing."""

    @abstractmethod
    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Weighted terms by name; their sum, over all shares, is the loss of the batch. Rows (B,) int64, B > 0."""

    def forward(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """The loss terms of one training step; what `compile` acts on."""
        return self.loss_terms(users, positives, negatives, share=share)


def inner_products(users: Tensor, items: Tensor) -> Scorer:
    """The scorer of user (n_users, d) and item (n_items, d) embeddings."""
    return lambda rows: users[rows.to(users.device)] @ items.T


def sum_tensors(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape, without the copy that stacking them would make."""
    return reduce(torch.add, tensors)


def xavier_table(rows: int, size: int) -> nn.Parameter:
    """An embedding table, Xavier-uniform over (rows, size) as in the reference implementations."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, size)))


def normal_table(rows: int, size: int) -> nn.Parameter:
    """An embedding table, Xavier-normal over (rows, size)."""
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(rows, size)))


def projection(width: int, size: int) -> nn.Linear:
    """A linear map with Xavier-normal weights, as some of the reference implementations have it."""
    linear = nn.Linear(width, size)
    nn.init.xavier_normal_(linear.weight)
    return linear


def projected_rows(project: Callable[[Tensor], Tensor], features: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """Project chosen rows of a table, each distinct row once. (n, width), (B,) ... -> (B, d) ..."""
    distinct, places = torch.unique(torch.cat(columns), return_inverse=True)
    mapped = project(features.index_select(0, distinct))
    return tuple(mapped[part] for part in places.split([len(column) for column in columns]))


def available_modalities(wanted: Sequence[str], inputs: Inputs) -> tuple[str, ...]:
    """Those of the wanted modalities that the data have."""
    return tuple(modality for modality in wanted if modality in inputs.features)


def scores(users: Tensor, items: Tensor) -> Tensor:
    """Inner products of matching rows: (B, d), (B, d) -> (B,)."""
    return (users * items).sum(dim=1)
