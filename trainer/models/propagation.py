"""LightGCN's propagation over the user-item graph, and what of it one interaction adds to a user."""

from typing import NamedTuple

from torch import Tensor

from trainer.graph import SparseMatrix
from trainer.models.base import added


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
    below = added(item_layers[:-1])
    return Propagated(
        users=added(user_layers) / (n_layers + 1),
        items=(below + item_layers[-1]) / (n_layers + 1),
        item_layers_below_last=below,
    )


def fold_in_rows(contributions: Tensor, item_degrees: Tensor) -> Tensor:
    """d_i^-1/2 times what item i hands to its users (SERVING.md, section 3); an unseen item counts as seen once."""
    return contributions * item_degrees.clamp(min=1).rsqrt()[:, None]
