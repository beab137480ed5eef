"""Additive shares of a score: a user vector is a sum over past items, an item vector a sum over parts.

    score = own · item + scale · sum over the past items i of weight_i · fold_in[i] · item
          = sum over parts p of user · item_parts[p]

Both sums are exact, so an explanation is bookkeeping and not an estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.ranking.profile import Profile, scale_of

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


def attribute(
    profile: Profile, past_vectors: Array, *, items: Array, parts: Mapping[str, Array], most: int
) -> Explanation:
    """Split k scores: past_vectors (s, d) = fold_in of the profile's past, items and each part (k, d)."""
    by_past = _weighted(profile, past_vectors) @ items.T * profile.scale  # (s, k)
    past = largest(by_past, most)
    contributions = by_past[past, np.arange(len(items))]
    return Explanation(
        parts={name: rows @ profile.vector for name, rows in parts.items()},
        own=items @ profile.own,
        past=past,
        contributions=contributions,
        others=by_past.sum(axis=0) - contributions.sum(axis=0),
    )


def _weighted(profile: Profile, past_vectors: Array) -> Array:
    weighted: Array = profile.weights[:, None] * past_vectors
    return weighted


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
    profile: Profile,
    past_vectors: Array,
    *,
    embeddings: Array,
    rows: Array,
    past: Array,
    hidden: Array,
    freed: Array,
    shares: Array | None = None,
) -> Array:
    """The rank of each item if one past item were taken away, (n, k) for past (n, k) positions.

    The vector is made anew without that item (sum and scale both), all items of embeddings (n_items, d) are scored,
    and an item's rank is one more than the number of shown items above it. `hidden` rows are not shown; `freed`
    (s,) says for each position of the past whether its item would be shown again if it were taken away. What rules
    add to the scores, `shares` (n_items,), stays as it is. A profile left without any vector ranks nothing: 0 stands
    there.
    """
    taken, place = np.unique(past, return_inverse=True)
    vectors = _vectors_without(profile, past_vectors, taken)  # (t, d)
    place = place.reshape(past.shape)
    back = np.where(freed[taken], profile.past[taken], -1)  # (t,)
    limits = (vectors @ embeddings[rows].T)[place, np.arange(len(rows))]  # (n, k)
    if shares is not None:
        limits = limits + shares[rows]
    above = np.zeros(past.shape, np.int64)
    for start in range(0, len(embeddings), ITEM_CHUNK):
        scores = vectors @ embeddings[start : start + ITEM_CHUNK].T  # (t, chunk)
        if shares is not None:
            scores += shares[start : start + ITEM_CHUNK]
        _hide(scores, hidden - start, back - start)
        for i, row in enumerate(rows - start):
            mine = scores[place[:, i]]  # (n, chunk)
            if 0 <= row < mine.shape[1]:
                mine[:, row] = -np.inf  # an item is never above itself
            above[:, i] += np.count_nonzero(mine > limits[:, i, None], axis=1)
    anything: Array = np.any(vectors, axis=1)  # (t,)
    return np.where(anything[place], above + 1, 0)


def _vectors_without(profile: Profile, past_vectors: Array, taken: Array) -> Array:
    weighted, weights = _weighted(profile, past_vectors), np.abs(profile.weights)
    rest = weighted.sum(axis=0) - weighted[taken]
    if len(past_vectors) == 1:
        rest = np.zeros_like(rest)  # exactly nothing, not what rounding leaves of it
    scales = np.array([scale_of(float(weights.sum() - weights[i])) for i in taken], np.float32)
    vectors: Array = profile.own + scales[:, None] * rest
    return vectors


def _hide(scores: Array, hidden: Array, back: Array) -> None:
    """Put the hidden rows of this chunk (t, n) below everything, save in each line the row that it brings back."""
    if not len(hidden):
        return
    lines = np.flatnonzero((back >= 0) & (back < scores.shape[1]))
    kept = scores[lines, back[lines]]
    scores[:, hidden[(hidden >= 0) & (hidden < scores.shape[1])]] = -np.inf
    scores[lines, back[lines]] = kept


def count_in_common(some: Array, others: Array) -> int:
    """How many values two ascending arrays share, in time of the shorter one times the log of the longer."""
    short, long = sorted((some, others), key=len)
    if not len(short):
        return 0
    at = np.minimum(np.searchsorted(long, short), len(long) - 1)
    return int(np.count_nonzero(long[at] == short))
