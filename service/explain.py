"""Additive shares of a score: a user vector is a sum over past items, an item vector a sum over parts.

    score = user_own · item + d_u^-1/2 · sum over the user's past items i of fold_in[i] · item
          = sum over parts p of user · item_parts[p]

Both sums are exact, so an explanation is bookkeeping and not an estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ITEM_CHUNK = 65_536  # items scored at once for counterfactual ranks: bounds memory at any catalogue size


@dataclass(frozen=True)
class Explanation:
    """Why k items were given to one user; column i of every array belongs to item i of the answer."""

    parts: Mapping[str, Array]  # each (k,): shares by part, which sum to the score
    own: Array  # (k,): the user's own term
    past: Array  # (n, k): positions in the user's past of the items that add most, most first
    contributions: Array  # (n, k): what each of them adds
    others: Array  # (k,): what the rest of the past adds; own + contributions + others is the score


def explain(
    vector: Array, own: Array, past_vectors: Array, *, items: Array, parts: Mapping[str, Array], most: int
) -> Explanation:
    """Split k scores: vector and own (d,), past_vectors (s, d) = fold_in of the past, items and each part (k, d)."""
    by_past = past_vectors @ items.T * degree_scale(len(past_vectors))  # (s, k)
    past = largest(by_past, most)
    contributions = by_past[past, np.arange(len(items))]
    return Explanation(
        parts={name: rows @ vector for name, rows in parts.items()},
        own=items @ own,
        past=past,
        contributions=contributions,
        others=by_past.sum(axis=0) - contributions.sum(axis=0),
    )


def degree_scale(degree: int) -> float:
    """d_u^-1/2, and 0 for a user without a past."""
    return float(degree**-0.5) if degree else 0.0


def largest(values: Array, n: int) -> Array:
    """Row positions (min(n, s), k) of the n largest values of each column of (s, k), largest first."""
    n = min(n, len(values))
    if n == 0:
        return np.empty((0, values.shape[1]), np.int64)
    columns = np.arange(values.shape[1])
    chosen = np.argpartition(-values, n - 1, axis=0)[:n]  # a sort of all would be slow for a long past
    order = np.argsort(-values[chosen, columns], axis=0, kind="stable")
    in_order: Array = chosen[order, columns]
    return in_order


def ranks_without(
    own: Array, past_vectors: Array, *, embeddings: Array, rows: Array, past: Array, hidden: Array
) -> Array:
    """The rank of each item if one past item were taken away, (n, k) for past (n, k) positions.

    The user's vector is made anew without that item (sum and degree both), all items of embeddings (n_items, d)
    are scored, and an item's rank is one more than the number of shown items above it. `hidden` are the rows of
    the past, position by position, where seen items are left out of the answer, else empty: the item taken away is
    then no longer hidden. A user left without any vector ranks nothing: 0 stands there.
    """
    taken, place = np.unique(past, return_inverse=True)
    vectors = _vectors_without(own, past_vectors, taken)  # (t, d)
    place = place.reshape(past.shape)
    limits = (vectors @ embeddings[rows].T)[place, np.arange(len(rows))]  # (n, k)
    above = np.zeros(past.shape, np.int64)
    for start in range(0, len(embeddings), ITEM_CHUNK):
        scores = vectors @ embeddings[start : start + ITEM_CHUNK].T  # (t, chunk)
        _hide(scores, hidden - start, taken)
        for i, row in enumerate(rows - start):
            mine = scores[place[:, i]]  # (n, chunk)
            if 0 <= row < mine.shape[1]:
                mine[:, row] = -np.inf  # an item is never above itself
            above[:, i] += np.count_nonzero(mine > limits[:, i, None], axis=1)
    anything: Array = np.any(vectors, axis=1)  # (t,)
    return np.where(anything[place], above + 1, 0)


def _vectors_without(own: Array, past_vectors: Array, taken: Array) -> Array:
    rest = past_vectors.sum(axis=0) - past_vectors[taken]
    if len(past_vectors) == 1:
        rest = np.zeros_like(rest)  # exactly nothing, not what rounding leaves of it
    vectors: Array = own + degree_scale(len(past_vectors) - 1) * rest
    return vectors


def _hide(scores: Array, hidden: Array, taken: Array) -> None:
    """Put the hidden rows of this chunk below everything, save for each row of scores the item it takes away."""
    if not len(hidden):
        return
    inside = (hidden >= 0) & (hidden < scores.shape[1])
    back = np.flatnonzero(inside[taken])
    kept = scores[back, hidden[taken[back]]]
    scores[:, hidden[inside]] = -np.inf
    scores[back, hidden[taken[back]]] = kept


def count_in_common(some: Array, others: Array) -> int:
    """How many values two ascending arrays share, in time of the shorter one times the log of the longer."""
    short, long = sorted((some, others), key=len)
    if not len(short):
        return 0
    at = np.minimum(np.searchsorted(long, short), len(long) - 1)
    return int(np.count_nonzero(long[at] == short))
