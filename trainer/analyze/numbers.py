"""What the figures measure (docs/analysis.md): functions of item vectors, neighbour rows and interactions."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from trainer.progress import track

Array = np.ndarray[Any, np.dtype[Any]]

_ENTRIES_AT_ONCE = 20_000_000
"""Entries that a block of R'R may have at most."""


def overlap(mine: Array, theirs: Array) -> float:
    """Mean share of an item's neighbours that are its neighbours in the other space too (Fig. 4).

    Args:
        mine, theirs: (n_items, k) neighbour rows, distinct within a row.
    """
    both = np.sort(np.concatenate([mine, theirs], axis=1), axis=1)  # (n_items, 2k)
    return float(np.count_nonzero(both[:, 1:] == both[:, :-1]) / mine.size)


def random_others(n_items: int, k: int, rng: np.random.Generator) -> Array:
    """(n_items, k) rows drawn at random among the other items."""
    return (np.arange(n_items)[:, None] + rng.integers(1, n_items, size=(n_items, k))) % n_items


def two_hop_counts(interactions: sp.csr_matrix) -> Array:
    """The released "2-hop" of each item: distinct other items consumed by the users who consumed it. (n_items,) int64.

    It says how popular the item and its users' other items are; it knows nothing of a second item.

    Args:
        interactions: R (n_users, n_items), 1 where a user has an item.
    """
    n_items = interactions.shape[1]
    by_item = interactions.T.tocsr()
    block = max(1, _ENTRIES_AT_ONCE // n_items)
    counts = [
        np.diff((by_item[start : start + block] @ interactions).indptr)
        for start in track(range(0, n_items, block), "2-hop counts")
    ]
    with_itself: Array = np.concatenate(counts).astype(np.int64)  # what its users consumed
    return (with_itself - 1).clip(0)  # an item without users has not even itself


def users_in_common(interactions: sp.csr_matrix, others: Array) -> Array:
    """|U_i and U_j| of every item i with each j of its `others` (n_items, k): (n_items, k) int64."""
    by_item = interactions.T.tocsr()
    shared = [np.asarray(by_item.multiply(by_item[rows]).sum(axis=1)).ravel() for rows in others.T]
    return np.stack(shared, axis=1).astype(np.int64)


def pair_proximity(shared: Array, n_users_of: Array, others: Array) -> Array:
    """|U_i and U_j| / sqrt(|U_i| |U_j|): the cosine of the two item columns of R; 0 where an item has no user.

    Args:
        shared: (n_items, k) users in common.
        n_users_of: (n_items,) users of each item.
        others: (n_items, k) rows j.
    """
    scale = np.sqrt(n_users_of[:, None].astype(np.float64) * n_users_of[others])
    return np.divide(shared, scale, out=np.zeros(shared.shape), where=scale > 0)


def tsne(spaces: list[Array], rng_seed: int) -> list[Array]:
    """One t-SNE of the rows of all spaces together, taken apart again: (n, 2) a space (Fig. 1).

    As the released scripts have it: scikit-learn's defaults, vectors unscaled. Perplexity falls below its default
    of 30 only where there are too few points for it.

    Args:
        spaces: (n, d) each, of one width d.
        rng_seed: scikit-learn's random_state.
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415 - a second to import, and not every report has this figure

    points = np.concatenate(spaces).astype(np.float32)
    if len(points) == 1:
        return [np.zeros((1, 2), np.float32)]
    perplexity = min(30.0, (len(points) - 1) / 3)
    placed: Array = TSNE(2, random_state=rng_seed, perplexity=perplexity).fit_transform(points)
    return np.split(placed, len(spaces))
