"""LiveSnapshot: a main index and the items that changed since it was built, searched as one index."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from index.item_index import ItemIndex
from index.ranking import (
    NO_ROWS,
    SCORES_AT_ONCE,
    Array,
    Exclude,
    best_of,
    checked_exclude,
    checked_k,
    checked_queries,
    checked_rows,
    empty_result,
    near_best,
    padded,
    rounding_error,
)


@dataclass(frozen=True, eq=False)
class RowMap:
    """Which row of the row space each place of a main index holds: place i is row i, or rows[i], ascending."""

    n: int  # places
    rows: Array | None = None  # (n,) int64
    places: Array | None = None  # (n rows when the main index was built,) int64, -1 where a row is in no place

    @classmethod
    def of(cls, rows: Array, n_rows: int) -> "RowMap":
        """The map of these ascending rows out of n_rows."""
        places = np.full(n_rows, -1, np.int64)
        places[rows] = np.arange(len(rows))
        return cls(len(rows), rows, places)

    def places_of(self, rows: Array) -> Array:
        """The places of those rows that have one."""
        if self.places is None:
            return rows[rows < self.n]
        places: Array = self.places[rows[rows < len(self.places)]]
        return places[places >= 0]

    def rows_at(self, places: Array) -> Array:
        """The row of each place; -1 stays -1."""
        return places if self.rows is None else np.where(places >= 0, self.rows[places], -1)


@dataclass(frozen=True, eq=False)
class Delta:
    """Vectors that are searched exactly beside the main index, one slot each; a slot of row -1 is never returned."""

    vectors: Array  # (c, d) float32
    rows: Array  # (c,) int64
    norm: float  # at least the largest row norm

    def search(self, queries: Array, k: int, excluded: Sequence[Array], within: Array | None) -> tuple[Array, Array]:
        """Rows and scores (m, min(k, c)), as ItemIndex.search gives them, for checked queries (m, d)."""
        k = min(k, len(self.rows))
        rows, scores = empty_result(len(queries), k)
        open_slots = self.rows >= 0 if within is None else np.isin(self.rows, within)
        error = rounding_error(queries, self.norm)  # (m,)
        at_once = max(1, SCORES_AT_ONCE // max(1, len(self.rows)))
        for start in range(0, len(queries) if k else 0, at_once):
            block = queries[start : start + at_once] @ self.vectors.T  # (at_once, c)
            block[:, ~open_slots] = -np.inf
            for i, slot_scores in enumerate(block, start):
                slots = near_best(slot_scores, min(k + len(excluded[i]), len(self.rows)), 2 * error[i])
                slots = slots[~np.isin(self.rows[slots], excluded[i])][None]  # (1, s)
                allowed = np.ones(slots.shape, np.bool_)
                found = best_of(slots, allowed, self.vectors, queries[i, None], k, names=self.rows)
                rows[i], scores[i] = found[0][0], found[1][0]
        return rows, scores


@dataclass(frozen=True, eq=False)
class LiveSnapshot:
    """An immutable state of a LiveIndex, with the search of ItemIndex. Safe from several threads at once.

    Rows 0..n-1 are the items that the index was opened with, higher rows were added since. A row belongs to one item
    for good: replacing the item keeps its row, and the row of a removed item is never returned.
    """

    main: ItemIndex  # hides the places of hidden, removed and replaced rows
    row_map: RowMap
    stale: Array  # places of the main index whose row was removed or replaced
    delta: Delta
    n_rows: int
    hidden: Array  # (n_hidden,) rows
    _slot_rows: Array  # (c,) the rows of the delta's slots, hidden ones included

    @classmethod
    def of(cls, main: ItemIndex, row_map: RowMap, stale: Array, delta: Delta, n_rows: int) -> "LiveSnapshot":
        """A snapshot without hidden rows; `stale`: places of the main index whose row was removed or replaced."""
        return cls(main.with_hidden(stale), row_map, stale, delta, n_rows, NO_ROWS, delta.rows)

    def __len__(self) -> int:
        """The size of the row space, the rows of removed items included."""
        return self.n_rows

    def with_hidden(self, rows: Array) -> "LiveSnapshot":
        """The same snapshot with exactly these rows hidden; shares all vectors."""
        hidden = np.unique(checked_rows(rows, self.n_rows))
        main = self.main.with_hidden(np.concatenate([self.stale, self.row_map.places_of(hidden)]))
        slot_rows = np.where(np.isin(self._slot_rows, hidden), -1, self._slot_rows) if len(hidden) else self._slot_rows
        return replace(self, main=main, delta=replace(self.delta, rows=slot_rows), hidden=hidden)

    def search(
        self, queries: Array, k: int, exclude: Exclude = None, within: Array | None = None
    ) -> tuple[Array, Array]:
        """As ItemIndex.search, over rows 0..len-1; exact in the delta, and as exact as the main index in the rest."""
        queries = checked_queries(queries, self.main.vectors.shape[1])  # (m, d)
        excluded = checked_exclude(exclude, len(queries), self.n_rows)
        checked_k(k, self.n_rows)
        in_main = None if within is None else self.row_map.places_of(checked_rows(within, self.n_rows))
        places_out = [self.row_map.places_of(rows) for rows in excluded]
        places, scores = self.main.search(queries, min(k, len(self.main)), places_out, in_main)
        of_main = self.row_map.rows_at(places), scores
        if not len(self.delta.rows):
            return padded(*of_main, k)
        return _merged(of_main, self.delta.search(queries, k, excluded, within), k)


def _merged(of_main: tuple[Array, Array], of_delta: tuple[Array, Array], k: int) -> tuple[Array, Array]:
    """The k best of both results (m, a) and (m, b), ties by lower row."""
    rows = np.concatenate([of_main[0], of_delta[0]], axis=1)
    scores = np.concatenate([of_main[1], of_delta[1]], axis=1)
    order = np.lexsort((rows, -scores))[:, :k]
    order += rows.shape[1] * np.arange(len(rows))[:, None]  # positions in the flattened (m, a + b)
    return padded(rows.take(order), scores.take(order), k)
