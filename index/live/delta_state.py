"""The state behind a live index's snapshots: which rows are in the main index, which in the delta, which in neither."""

import numpy as np

from index.item_index import ItemIndex
from index.live.delta import Delta, LiveSnapshot, RowMap
from index.live.delta_log import Change
from index.ranking import Array, largest_norm

_LEAST_SLOTS = 64


class DeltaState:
    """A main index and the changes since; for one thread at a time. Its snapshots may be read meanwhile.

    Vectors are only ever appended behind those that a snapshot sees, so a change copies no vector but its own.
    """

    def __init__(self, main: ItemIndex, row_map: RowMap, n_rows: int) -> None:
        self.main, self.row_map, self.n_rows = main, row_map, n_rows
        self._stale = np.zeros(row_map.n, np.bool_)  # by place of the main index
        self._vectors = np.empty((_LEAST_SLOTS, main.vectors.shape[1]), np.float32)
        self._slot_rows = np.empty(0, np.int64)
        self._slot_of: dict[int, int] = {}
        self._norm = 0.0

    @property
    def n_changes(self) -> int:
        """Rows in the delta and rows of the main index that are stale: what compaction would get rid of."""
        return len(self._slot_of) + int(np.count_nonzero(self._stale))

    @property
    def n_items(self) -> int:
        """Rows that hold an item."""
        return len(self._slot_of) + self.row_map.n - int(np.count_nonzero(self._stale))

    def holds(self, row: int) -> bool:
        """Whether the row holds an item, hidden or not."""
        places = self._places((row,))
        return row in self._slot_of or bool(len(places) and not self._stale[places[0]])

    def apply(self, change: Change) -> None:
        """Put and remove; a removed row that holds no item stays empty."""
        self._stale[self._places((*change.rows, *change.removed))] = True
        slot_rows = self._slot_rows.copy()
        for row in (*change.rows, *change.removed):
            if row in self._slot_of:
                slot_rows[self._slot_of.pop(row)] = -1
        self._slot_rows = slot_rows
        if change.rows:
            self._append(change)
        self.n_rows = max(self.n_rows, 1 + max((*change.rows, *change.removed), default=-1))

    def snapshot(self) -> LiveSnapshot:
        """The state as it is, without hidden rows."""
        delta = Delta(self._vectors[: len(self._slot_rows)], self._slot_rows, self._norm)
        return LiveSnapshot.of(self.main, self.row_map, np.flatnonzero(self._stale), delta, self.n_rows)

    def items(self) -> tuple[Array, Array]:
        """The rows (r,) that hold an item, ascending, and their vectors (r, d), copied."""
        places = np.flatnonzero(~self._stale)
        slots = np.fromiter(self._slot_of.values(), np.int64, len(self._slot_of))
        rows = np.concatenate([self.row_map.rows_at(places), self._slot_rows[slots]])
        order = np.argsort(rows, kind="stable")
        vectors = np.empty((len(rows), self._vectors.shape[1]), np.float32)
        in_order = np.empty_like(order)
        in_order[order] = np.arange(len(rows))
        vectors[in_order[: len(places)]] = self.main.vectors[places]
        vectors[in_order[len(places) :]] = self._vectors[slots]
        return rows[order], vectors

    def _places(self, rows: tuple[int, ...]) -> Array:
        return self.row_map.places_of(np.array(rows, np.int64))

    def _append(self, change: Change) -> None:
        start, end = len(self._slot_rows), len(self._slot_rows) + len(change.rows)
        if end > len(self._vectors):
            start, end = self._repack(len(change.rows))
        self._vectors[start:end] = change.vectors
        self._slot_rows = np.concatenate([self._slot_rows, np.array(change.rows, np.int64)])
        self._slot_of |= {row: start + i for i, row in enumerate(change.rows)}
        self._norm = max(self._norm, largest_norm(change.vectors))

    def _repack(self, n_new: int) -> tuple[int, int]:
        """Move the used slots into a new array with as much room again; snapshots keep the old one."""
        used = np.flatnonzero(self._slot_rows >= 0)
        vectors = np.empty((max(_LEAST_SLOTS, 2 * (len(used) + n_new)), self._vectors.shape[1]), np.float32)
        vectors[: len(used)] = self._vectors[used]
        self._vectors, self._slot_rows = vectors, self._slot_rows[used]
        self._slot_of = {row: slot for slot, row in enumerate(self._slot_rows.tolist())}
        return len(used), len(used) + n_new
