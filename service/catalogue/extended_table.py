"""Tables with rows behind those of a bundle, which is not copied."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from index.tables import Table

Array = np.ndarray[Any, Any]

_LEAST = 64


class ExtendedTable:
    """A table (n, ...) and rows behind it, read like an array: by row, slice or rows.

    Row n + i is `slots[slot_of[i]]`: a row whose content is replaced gets another slot, and older tables keep theirs.
    """

    def __init__(self, table: Table, slots: Array, slot_of: Array) -> None:
        self._table, self._slots, self._slot_of = table, slots, slot_of
        self._n = len(table)
        self.shape: tuple[int, ...] = (self._n + len(slot_of), *table.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        if isinstance(rows, slice):
            return self._slice(*rows.indices(len(self)))
        if isinstance(rows, np.ndarray):
            return self._some(rows)
        found: Array = self._table[rows] if rows < self._n else self._slots[self._slot_of[rows - self._n]]
        return found

    def _slice(self, start: int, stop: int, step: int) -> Array:
        if step == 1 and stop <= self._n:
            whole: Array = self._table[start:stop]
            return whole
        return self._some(np.arange(start, stop, step))

    def _some(self, rows: Array) -> Array:
        late = rows >= self._n
        if not late.any():
            own: Array = self._table[rows]
            return own
        found = np.empty((len(rows), *self.shape[1:]), self._slots.dtype)
        found[~late] = self._table[rows[~late]]
        found[late] = self._slots[self._slot_of[rows[late] - self._n]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The whole table in memory."""
        return np.asarray(self[:], dtype)


class Slots:
    """Named tables of rows that are only ever appended, all by the same number; a view sees those that there were.

    For one thread at a time; views may be read meanwhile.
    """

    def __init__(self, empty: Mapping[str, Array]) -> None:
        """`empty`: arrays (0, ...) of the shape and type of each table."""
        self._n = 0
        self._tables = {name: np.empty((_LEAST, *one.shape[1:]), one.dtype) for name, one in empty.items()}

    def __len__(self) -> int:
        return self._n

    def append(self, rows: Mapping[str, Array], n: int) -> int:
        """Append n rows of each table; returns the slot of the first."""
        start, self._n = self._n, self._n + n
        for name, table in self._tables.items():
            if self._n > len(table):
                grown = np.empty((2 * self._n, *table.shape[1:]), table.dtype)
                grown[:start] = table[:start]
                self._tables[name] = grown
            self._tables[name][start : self._n] = rows[name]
        return start

    def views(self) -> dict[str, Array]:
        """The tables as they are; what is appended later does not change them."""
        return {name: table[: self._n] for name, table in self._tables.items()}

    def keep(self, slots: Array) -> None:
        """Keep these slots alone, which become 0, 1, ...; earlier views keep the arrays that they have."""
        self._tables = {name: table[slots] for name, table in self._tables.items()}
        self._n = len(slots)
