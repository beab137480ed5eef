"""Exact search by cosine that copies no vectors: their lengths are known, so each search reads them where they are."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from index.ranking import NO_ROWS, best_of, checked_rows, near_best, rounding_error, unit_rows
from index.tables import Table

Array = np.ndarray[Any, Any]

_CHUNK = 65_536
_DIVISION = 2.0**-22  # beyond the error of a sum: that of the lengths, and of dividing by them


class CosineScan:
    """The rows of a table (n, width) by cosine, without hidden rows and without rows of zeros."""

    def __init__(self, table: Table) -> None:
        """Reads the whole table once, for its lengths."""
        self._table = table
        self._inverse = np.empty(len(table), np.float32)  # (n,) 1 / length; 0 for a row of zeros
        for rows in self._chunks():
            lengths = np.linalg.norm(np.asarray(table[rows], np.float32), axis=1)
            self._inverse[rows] = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        self.unknown = np.flatnonzero(self._inverse == 0)

    def search(self, unit: Array, k: int, excluded: Array, within: Array | None = None) -> tuple[Array, Array]:
        """The rows (<= k,) nearest to a unit vector (width,) and their cosines, best first, ties by lower row.

        Rows in `excluded` and `unknown` are left out, and with `within` (ascending) all rows outside it. InputError on
        a row out of range.
        """
        rows = None if within is None else checked_rows(within, len(self._table))
        cosines = self._cosines(unit, rows)
        left_out = np.union1d(checked_rows(excluded, len(self._table)), self.unknown)
        cosines[left_out if rows is None else np.isin(rows, left_out)] = -np.inf
        if not len(cosines):
            return NO_ROWS, np.empty(0, np.float32)
        margin = 2 * (float(rounding_error(unit[None], 1.0)[0]) + _DIVISION)
        near = near_best(cosines, k, margin)
        candidates = near if rows is None else rows[near]
        vectors = unit_rows(np.asarray(self._table[candidates], np.float32))
        places = np.arange(len(candidates))[None]
        found, scores = best_of(places, np.ones(places.shape, np.bool_), vectors, unit[None], k, names=candidates)
        n = int(np.count_nonzero(found[0] >= 0))
        return found[0, :n], scores[0, :n]

    def _cosines(self, unit: Array, rows: Array | None) -> Array:
        """The cosine of each row (n,), or of these rows (r,), to within rounding."""
        cosines = np.empty(len(self._table) if rows is None else len(rows), np.float32)
        for places in self._chunks(len(cosines)):
            chunk = places if rows is None else rows[places]
            np.matmul(np.asarray(self._table[chunk], np.float32), unit, out=cosines[places])
            cosines[places] *= self._inverse[chunk]
        return cosines

    def _chunks(self, n: int | None = None) -> Iterator[slice]:
        n = len(self._table) if n is None else n
        return (slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))
