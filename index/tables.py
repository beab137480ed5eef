"""Tables of vectors stored as float32, float16, or int8 with a scale a row; they are read as float32 rows.

Rounding moves a row by at most a norm that is known from what is stored, so that laws between tables can be checked as
sharply as the precision allows (index/invariants.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from index.errors import InputError

Array = np.ndarray[Any, Any]
Precision = Literal["float32", "float16", "int8"]

MOST_ERROR = 0.02  # of a row's rounding, relative to its norm; int8 gives .006 on normal rows of 64
_HALF_ROUNDOFF, _HALF_SMALLEST = 2.0**-11, 2.0**-24  # of float16: relative to normal numbers, spacing of subnormal ones
_LARGEST_INT8 = 127
_SMALLEST = float(np.finfo(np.float32).tiny)
_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class PackedTable:
    """A table (n, d) of rows rounded to float16 or int8. Indexing by row, slice or rows gives float32."""

    stored: Array  # (n, d) float16 or int8
    scales: Array | None = None  # (n,) float32, of int8 only: row = stored · scale

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stored.shape)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: Any) -> Array:
        found: Array = self.stored[rows].astype(np.float32)
        if self.scales is not None:
            found *= self.scales[rows][..., None]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The whole table in memory."""
        return np.asarray(self[:], dtype)

    def rounding(self, rows: Any) -> Array:
        """The largest norm (m,) by which rounding can have moved each of the rows."""
        root = np.sqrt(self.shape[1])
        if self.scales is not None:
            return np.asarray(self.scales[rows] * (root / 2), np.float64)
        # Of the number x before rounding to x': |x - x'| <= 2^-11 |x| <= 2^-11 / (1 - 2^-11) |x'|
        norms = np.linalg.norm(self[rows].astype(np.float64), axis=-1)
        bound: Array = norms * (_HALF_ROUNDOFF / (1 - _HALF_ROUNDOFF)) + root * _HALF_SMALLEST / 2
        return bound


Table: TypeAlias = Array | PackedTable


def rounding_of(table: Table | None, rows: slice) -> Array | float:
    """As PackedTable.rounding; 0 for a table of float32, and for none."""
    return table.rounding(rows) if isinstance(table, PackedTable) else 0.0


def pack_table(rows: Array, precision: Precision) -> Table:
    """Round a table (n, d) of float32; float32 itself is returned as it is."""
    if precision == "float32":
        return rows
    if precision == "float16":
        with np.errstate(over="ignore"):  # infinity is refused by `table_error`
            return PackedTable(np.asarray(rows).astype(np.float16))
    stored, scales = np.empty(rows.shape, np.int8), np.empty(len(rows), np.float32)
    for chunk in _chunks(len(rows)):
        scales[chunk] = np.abs(rows[chunk]).max(axis=1) / _LARGEST_INT8
        divisor = np.where(scales[chunk] > 0, scales[chunk], 1)[:, None]
        stored[chunk] = np.clip(np.rint(rows[chunk] / divisor), -_LARGEST_INT8, _LARGEST_INT8)
    return PackedTable(stored, scales)


def table_error(name: str, rows: Array, table: Table) -> float:
    """The largest norm of a row's rounding, relative to the row's norm or to the mean norm where that is larger.

    A score of the row with any vector v is off by no more than this share of |row| · |v|. InputError above MOST_ERROR.
    """
    mean = sum(float(np.linalg.norm(rows[chunk], axis=1).sum()) for chunk in _chunks(len(rows))) / len(rows)
    error = max(_relative(rows[chunk], table[chunk], mean) for chunk in _chunks(len(rows)))
    if not error <= MOST_ERROR:
        raise InputError(f"rounding moves a row of {name} by {error:.2g} of its norm; expected at most {MOST_ERROR:g}")
    return error


def _relative(rows: Array, rounded: Array, mean: float) -> float:
    scale = np.maximum(np.linalg.norm(rows, axis=1), max(mean, _SMALLEST))
    return float(np.max(np.linalg.norm(rounded - rows, axis=1) / scale))


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))


def stored_arrays(file: str, table: Table) -> dict[str, Array]:
    """The arrays of a table by file name: itself, and its scales where it is int8."""
    if isinstance(table, np.ndarray):
        return {file: table}
    return {file: table.stored, **({} if table.scales is None else {f"scales/{file}": table.scales})}


def table_of(file: str, arrays: dict[str, Array]) -> Table:
    """The inverse of `stored_arrays`; copies nothing."""
    stored = arrays[file]
    return stored if stored.dtype == np.float32 else PackedTable(stored, arrays.get(f"scales/{file}"))
