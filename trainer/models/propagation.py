"""LightGCN's propagation over the user-item graph, and the decomposition of its user embeddings for fold-in."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from trainer.graph import SparseMatrix
from trainer.models.base import Factors, GradientModel, Inputs, sum_tensors, xavier_table


class Propagated(NamedTuple):
    """Layer means, and the part of them that user fold-in needs."""

    users: Tensor
    """(n_users, d)"""
    items: Tensor
    """(n_items, d)"""
    item_layers_below_last: Tensor
    """(n_items, d): sum of the item layers 0 ... L-1."""


def light_gcn(interactions: SparseMatrix, users: Tensor, items: Tensor, n_layers: int) -> Propagated:
    """LGC_L: the mean of layers 0 ... L, layer l+1 of one side being R-hat times layer l of the other.

    He et al. (2020), equations 7 and 8; equal to the product with the whole (n_users + n_items)^2 matrix.
    """
    user_layers, item_layers = [users], [items]
    for _ in range(n_layers):
        user_layers.append(interactions @ item_layers[-1])
        item_layers.append(interactions.T @ user_layers[-2])
    below = sum_tensors(item_layers[:-1])
    return Propagated(
        users=sum_tensors(user_layers) / (n_layers + 1),
        items=(below + item_layers[-1]) / (n_layers + 1),
        item_layers_below_last=below,
    )


class OverInteractions(GradientModel):
    """A model that contains LightGCN over its ID embeddings."""

    def __init__(self, inputs: Inputs, size: int, n_layers: int) -> None:
        super().__init__()
        self._inputs, self._n_layers = inputs, n_layers
        self.user_embedding = xavier_table(inputs.n_users, size)
        self.item_embedding = xavier_table(inputs.n_items, size)

    def _propagate(self, graph: SparseMatrix | None = None) -> Propagated:
        """Propagate over all training interactions, or over another graph of users and items."""
        graph = self._inputs.interactions if graph is None else graph
        return light_gcn(graph, self.user_embedding, self.item_embedding, self._n_layers)


def fold_in_rows(contributions: Tensor, item_degrees: Tensor) -> Tensor:
    """The bundle's `fold_in` rows (docs/bundle.md): d_i^-1/2 times what item i hands on, d_i at least 1."""
    return contributions * item_degrees.clamp(min=1).rsqrt()[:, None]


def smoothed(graph: SparseMatrix, rows: Tensor, n_layers: int) -> Tensor:
    """The graph applied n_layers times: the last layer alone, no mean."""
    for _ in range(n_layers):
        rows = graph @ rows
    return rows


def sums_over_items(inputs: Inputs, items: Tensor) -> Tensor:
    """R x: for each user the sum of (n_items, d) over the user's items."""
    scaled = inputs.item_degrees.sqrt()[:, None] * items
    return inputs.user_degrees.sqrt()[:, None] * (inputs.interactions @ scaled)


def sums_over_users(inputs: Inputs, users: Tensor) -> Tensor:
    """R^T x: for each item the sum of (n_users, d) over the item's users."""
    scaled = inputs.user_degrees.sqrt()[:, None] * users
    return inputs.item_degrees.sqrt()[:, None] * (inputs.interactions.T @ scaled)


# Taking a model apart: what one interaction adds to a user


def exact_factors(
    users: Tensor, item_parts: Mapping[str, Tensor], *, own: Tensor, handed: Tensor, inputs: Inputs
) -> Factors:
    """Factors of a model whose users are own + R-hat handed: (n_users, d), (n_items, d)."""
    return Factors(users, item_parts, own, fold_in_rows(handed, inputs.item_degrees))


def approximate_factors(users: Tensor, item_parts: Mapping[str, Tensor], handed: Tensor, inputs: Inputs) -> Factors:
    """Factors of a model whose users are not such a sum: the multiple of R-hat handed that is nearest replaces it.

    What it misses of a trained user is the user's own term, so trained users come out exactly; a user who is folded
    in gets the model's answer only roughly, and the bundle says so.
    """
    folded = inputs.interactions @ handed
    scale = (users * folded).sum() / folded.square().sum().clamp(min=1e-12)
    return Factors(
        user_embeddings=users,
        item_parts=item_parts,
        user_own=users - scale * folded,
        fold_in=fold_in_rows(scale * handed, inputs.item_degrees),
        fold_in_exact=False,
    )


def free_users(users: Tensor, item_parts: Mapping[str, Tensor], inputs: Inputs) -> Factors:
    """Factors of a model with a free embedding per user: a new user is the mean of those with the same items."""
    return approximate_factors(users, item_parts, inputs.interactions.T @ users, inputs)
