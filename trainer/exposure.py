"""What ranked lists do to the catalogue, and the slices of it that training knows little of (docs/evaluation.md)."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def cold_items(counts: Array, at_most: int) -> Array:
    """(n_items,) bool: items with at most so many training interactions, those with none among them."""
    return counts <= at_most


def long_tail_items(counts: Array, share: float) -> Array:
    """(n_items,) bool: the least popular items that together hold at most `share` of all training interactions.

    With a share of 0.2 the tail of Abdollahpouri et al., "The Unfairness of Popularity Bias in Recommendation" (2019).
    Equally popular items are in the tail together or not at all, so the order of the rows decides nothing.
    """
    values, index, n_items = np.unique(counts, return_inverse=True, return_counts=True)
    held_up_to = np.cumsum(values * n_items)
    return np.asarray(held_up_to[index] <= share * held_up_to[-1])


def exposure_counts(ranked: Array, k: int, n_items: int) -> Array:
    """(n_items,) the number of lists, cut at k, that hold each item."""
    shown = ranked[:, :k].ravel()
    return np.bincount(shown[shown >= 0], minlength=n_items)


def coverage(exposure: Array) -> float:
    """Share of the catalogue that is in at least one list."""
    return float((exposure > 0).mean())


def gini(exposure: Array) -> float:
    """Inequality of the exposure over the whole catalogue: 0 all alike, 1 - 1/n_items one item takes all.

    G = 2 sum_r r x_(r) / (n sum_r x_(r)) - (n + 1) / n with x_(1) <= ... <= x_(n); 0 where nothing is shown.
    """
    n, total = len(exposure), exposure.sum()
    if total == 0:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float(2 * (ranks * np.sort(exposure)).sum() / (n * total) - (n + 1) / n)


def novelty(ranked: Array, counts: Array, n_users: int, ks: tuple[int, ...]) -> dict[str, Array]:
    """Mean self-information in bits of each list, log2(n_users / counts) an item, by the name `novelty@k`.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems" (2010). An item without
    training interactions counts as one with a single one, which keeps the figure finite.

    Args:
        ranked: (m, k) item rows, -1 where a list is shorter.
        counts: (n_items,) training interactions.
        n_users: users in the data set.
        ks: list lengths.

    Returns:
        Each (m,), NaN for users with an empty list.
    """
    information = np.log2(n_users / np.maximum(counts, 1))
    shown = ranked >= 0
    bits = np.where(shown, information[ranked], 0.0)
    metrics = {}
    for k in ks:
        length = shown[:, :k].sum(axis=1)
        total = bits[:, :k].sum(axis=1)
        metrics[f"novelty@{k}"] = np.divide(total, length, out=np.full(len(ranked), np.nan), where=length > 0)
    return metrics
