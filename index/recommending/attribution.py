"""Splits a score into shares: a user vector is a sum over past items, an item vector a sum over parts.

    score = own · item + scale · sum over the past items i of weight_i · fold_in[i] · item      (profile.py)
          = sum over parts p of user · item_parts[p]

Both sums are exact, so an explanation is bookkeeping and not an estimate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.recency import Recency
from index.recommending.profile import Profile, scale_of
from index.recommending.steps import Steps

Array = np.ndarray[Any, Any]

UNITS = 1_000_000  # of a share: six decimals are far below the 1e-4 to which shares sum, and short enough to read
SCORES_AT_ONCE = 200_000  # numbers computed in one step: a millisecond or two
ITEMS_AT_ONCE = 64  # of a list, explained in one step
SORTED_WHOLE = 64  # up to so many past items, sorting all takes a third of the time that finding the largest does


@dataclass(frozen=True)
class ScoreShares:
    """The shares of the scores of k items for one user; column i of every array belongs to item i of the list."""

    parts: Mapping[str, Array]  # each (k,): shares by part, which sum to the score
    own: Array  # (k,): the share of the user's own term
    past: Array  # (n, k): positions in the user's past of the items with the largest shares, largest first
    contributions: Array  # (n, k): their shares
    others: Array  # (k,): the share of the rest of the past; own + contributions + others is the score


@dataclass(frozen=True, eq=False)
class RoundedShares:
    """The shares of k scores as a response shows them, in units of the last decimal: whole numbers sum exactly."""

    names: tuple[str, ...]  # of the p parts
    units: Array  # (p + n + 2 or 3, k): parts, n past items, other past items, the user's own term, rules if any
    n_past: int

    @classmethod
    def of(cls, shares: ScoreShares, boosts: Array | None = None) -> "RoundedShares":
        """Round the shares; boosts (k,) are what rules add to the scores."""
        rules = [] if boosts is None else [boosts]
        rows = [*shares.parts.values(), *shares.contributions, shares.others, shares.own, *rules]
        return cls(tuple(shares.parts), _in_units(np.array(rows, np.float64)), len(shares.contributions))

    @property
    def parts(self) -> Array:
        """The shares by part (p, k)."""
        parts: Array = self.units[: len(self.names)]
        return parts

    @property
    def past(self) -> Array:
        """The shares of the named past items (n, k), largest first."""
        past: Array = self.units[len(self.names) :][: self.n_past]
        return past

    @property
    def own(self) -> Array:
        """The shares of the user's own term (k,)."""
        own: Array = self.units[len(self.names) + self.n_past + 1]
        return own

    @property
    def rules(self) -> Array:
        """The shares of rules (k,), 0 where there are none."""
        row = len(self.names) + self.n_past + 2
        return self.units[row] if row < len(self.units) else np.zeros(self.units.shape[1])

    def sums(self, units: Array) -> Array:
        """What parts and what all else sum to (2, k); `units` are these, or some of them with zeros for others."""
        sums: Array = np.add.reduceat(units, [0, len(self.names)], axis=0)
        return sums


def _in_units(values: Array) -> Array:
    units: Array = np.rint(values * UNITS)
    return units


def rounded(values: Array) -> list[Any]:
    """The values (k,), or each row of (n, k), as a response shows them."""
    numbers: list[Any] = (_in_units(values.astype(np.float64)) / UNITS).tolist()
    return numbers


def attribute_score(
    profile: Profile, past_vectors: Array, *, items: Array, parts: Mapping[str, Array], most: int
) -> ScoreShares:
    """Split k scores; past_vectors (s, d) are the fold_in rows of the profile's past, items and each part (k, d).

    `most` bounds how many past items are named for each item.
    """
    by_past = _weighted(profile, past_vectors) @ items.T * profile.scale  # (s, k)
    past = largest(by_past, most)
    contributions = by_past[past, np.arange(len(items))]
    return ScoreShares(
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
    if len(values) <= SORTED_WHOLE:
        first: Array = (-values).argsort(axis=0, kind="stable")[:n]
        return first
    columns = np.arange(values.shape[1])
    chosen = np.argpartition(-values, n - 1, axis=0)[:n]  # sorting all would be slow for a long past
    order = np.argsort(-values[chosen, columns], axis=0, kind="stable")
    sorted_rows: Array = chosen[order, columns]
    return sorted_rows


def chunks_of(n: int, n_past: int) -> Iterator[slice]:
    """Slices of a list of n items, short enough to be attributed to so many past items in one step."""
    size = min(ITEMS_AT_ONCE, max(1, SCORES_AT_ONCE // max(n_past, 1)))
    return (slice(start, start + size) for start in range(0, n, size))


def counterfactual_ranks(
    profile: Profile,
    past_vectors: Array,
    *,
    embeddings: Array,
    rows: Array,
    past: Array,
    hidden: Array,
    freed: Array,
    shares: Array | None = None,
) -> Steps[Array]:
    """The rank of each item if one past item were removed, (n, k) for past (n, k) positions; 0 where no vector is left.

    The user vector is computed without that item (sum and scale both), all items of embeddings (n_items, d) are
    scored, and an item's rank is one more than the number of visible items above it. `hidden` rows are not visible;
    `freed` (s,) says for each position of the past whether its item becomes visible when it is removed. The boosts of
    rules, `shares` (n_items,), do not change.
    """
    removed, place = np.unique(past, return_inverse=True)
    vectors = vectors_without(profile, past_vectors, removed)  # (t, d)
    place = place.reshape(past.shape)
    visible = np.where(freed[removed], profile.past[removed], -1)  # (t,)
    own_scores = (vectors @ embeddings[rows].T)[place, np.arange(len(rows))]  # (n, k)
    if shares is not None:
        own_scores = own_scores + shares[rows]
    n_above = np.zeros(past.shape, np.int64)
    for chunk in _slices(len(embeddings), width=len(removed)):
        scores = vectors @ embeddings[chunk].T  # (t, chunk)
        if shares is not None:
            scores += shares[chunk]
        _hide(scores, hidden - chunk.start, visible - chunk.start)
        yield
        for block in _slices(len(rows), width=scores.shape[1] * len(past)):
            above = scores[place[:, block]] > own_scores[:, block, None]  # (n, block, chunk)
            own = rows[block] - chunk.start
            inside = np.flatnonzero((own >= 0) & (own < scores.shape[1]))
            above[:, inside, own[inside]] = False  # an item is never above itself
            n_above[:, block] += np.count_nonzero(above, axis=2)
            yield
    has_vector: Array = np.any(vectors, axis=1)  # (t,)
    return np.where(has_vector[place], n_above + 1, 0)


def _slices(n: int, *, width: int) -> Iterator[slice]:
    """Slices of 0..n-1 of about SCORES_AT_ONCE numbers where each of the n has `width`."""
    size = max(1, SCORES_AT_ONCE // max(width, 1))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def vectors_without(profile: Profile, past_vectors: Array, removed: Array) -> Array:
    """The vectors (t, d) without each of these positions of the past; what is older then ranks one event newer."""
    weighted, sizes = _weighted(profile, past_vectors), np.abs(profile.weights)
    rest, weight = weighted.sum(axis=0) - weighted[removed], sizes.sum() - sizes[removed]  # (t, d), (t,)
    if len(past_vectors) == 1:
        rest = np.zeros_like(rest)  # exactly zero, without a rounding error
    elif profile.recency is not None:
        gained = profile.strengths * _gains(profile.recency, len(past_vectors))  # (s,)
        rest += _sums_before(gained[:, None] * past_vectors, removed)
        weight += _sums_before(np.abs(gained), removed)
    scales = np.array([scale_of(float(one)) for one in weight], np.float32)
    vectors: Array = profile.own + scales[:, None] * rest
    return vectors


def _gains(recency: Recency, n: int) -> Array:
    """What each of n past items, oldest first, weighs more at one rank newer; 0 for the newest, (n,)."""
    weights = recency.weights(n)
    return np.append(weights[1:], weights[-1:]) - weights


def _sums_before(rows: Array, places: Array) -> Array:
    """The sum of all rows before each place."""
    sums: Array = np.cumsum(rows, axis=0)[places] - rows[places]
    return sums


def _hide(scores: Array, hidden: Array, visible: Array) -> None:
    """Set hidden rows of this chunk (t, n) to minus infinity, except in line i the row visible[i]."""
    if not len(hidden):
        return
    lines = np.flatnonzero((visible >= 0) & (visible < scores.shape[1]))
    visible_scores = scores[lines, visible[lines]]
    scores[:, hidden[(hidden >= 0) & (hidden < scores.shape[1])]] = -np.inf
    scores[lines, visible[lines]] = visible_scores


def count_in_common(first: Array, second: Array) -> int:
    """How many values two ascending arrays share, in O(n log m) for the shorter n and the longer m."""
    short, long = sorted((first, second), key=len)
    if not len(short):
        return 0
    places = np.minimum(np.searchsorted(long, short), len(long) - 1)
    return int(np.count_nonzero(long[places] == short))
