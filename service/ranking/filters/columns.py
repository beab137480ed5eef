"""Typed columns of the items' attributes: which rows have a value, as masks, and a new column where rows change.

A column may have fewer rows than the catalogue: the rows after its last have no value. Columns are immutable; one that
is changed is copied, except for what stays the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import orjson

from index.attribute_types import AttributeType, parse_time
from service.ranking.filters.expression import Operator

Array = np.ndarray[Any, Any]
Changes = Mapping[int, Any]  # the new value of a row, None for none

LARGEST_EXPONENT = 1_024  # of a float, to base 2
MISSING = -1  # stands for no value

COMPARED: Mapping[Operator, Callable[[Array, Any], Array]] = {
    "=": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


class Column(Protocol):
    """What all columns offer; `compared`, `among` and `containing` are for types that have these operators."""

    @property
    def type(self) -> AttributeType: ...

    def __len__(self) -> int: ...

    def exists(self) -> Array:
        """A mask of the rows that have a value."""
        ...

    def with_text(self, texts: Sequence[str]) -> Array:
        """A mask of the rows that have one of the values, which are written as in JSON."""
        ...

    def replaced(self, n_rows: int, changes: Changes) -> "Column":
        """The column with other values in some rows, and at least as many rows as the last of them needs."""
        ...


@dataclass(frozen=True, eq=False)
class NumberColumn:
    """Numbers, or times in unix seconds; NaN where there is none."""

    values: Array  # (n,) float64
    type: AttributeType = "number"

    def __len__(self) -> int:
        return len(self.values)

    def exists(self) -> Array:
        return ~np.isnan(self.values)

    def compared(self, operator: Operator, value: float) -> Array:
        mask = COMPARED[operator](self.values, value)
        return mask & self.exists() if operator == "!=" else mask  # NaN differs from every number

    def among(self, values: Sequence[float]) -> Array:
        ascending = np.unique(np.array(values, np.float64))
        places = np.searchsorted(ascending, self.values)
        mask: Array = ascending.take(places, mode="clip") == self.values
        return mask

    def with_text(self, texts: Sequence[str]) -> Array:
        numbers = [number for text in texts if (number := self._parsed(text)) is not None]
        return self.among(numbers) if numbers else np.zeros(len(self), np.bool_)

    def _parsed(self, text: str) -> float | None:
        if self.type == "time":
            return parse_time(text)
        try:
            return number_of(orjson.loads(text))
        except ValueError:
            return None

    def range(self) -> tuple[float, float] | None:
        """The least and the largest value; None where there is none."""
        found = self.values[self.exists()]
        return (float(found.min()), float(found.max())) if len(found) else None

    def replaced(self, n_rows: int, changes: Changes) -> "NumberColumn":
        parse = time_of if self.type == "time" else number_of
        parsed = {row: np.nan if (value := parse(given)) is None else value for row, given in changes.items()}
        values = replaced_values(self.values, n_rows, parsed, np.nan)
        return self if values is self.values else replace(self, values=values)


@dataclass(frozen=True, eq=False)
class BooleanColumn:
    """True and false; -1 where there is neither."""

    values: Array  # (n,) int8
    type: AttributeType = "boolean"

    def __len__(self) -> int:
        return len(self.values)

    def exists(self) -> Array:
        mask: Array = self.values >= 0
        return mask

    def compared(self, operator: Operator, value: bool) -> Array:
        mask: Array = self.values == (value if operator == "=" else not value)
        return mask

    def among(self, values: Sequence[bool]) -> Array:
        return np.isin(self.values, np.array(values, np.int8))

    def with_text(self, texts: Sequence[str]) -> Array:
        return self.among([text == "true" for text in texts if text in ("true", "false")])

    def replaced(self, n_rows: int, changes: Changes) -> "BooleanColumn":
        parsed = {row: int(value) if isinstance(value, bool) else MISSING for row, value in changes.items()}
        values = replaced_values(self.values, n_rows, parsed, MISSING)
        return self if values is self.values else replace(self, values=values)


def replaced_values(values: Array, n_rows: int, changes: Mapping[int, Any], missing: Any) -> Array:
    """A copy with other values in some rows, of n_rows where one of them needs more; itself where all is equal."""
    rows = np.fromiter(changes, np.int64, len(changes))
    new = np.array(list(changes.values()), values.dtype)
    longer = rows[(rows >= len(values)) & ~same(new, missing)]
    old = values.take(rows, mode="clip") if len(values) else np.full(len(rows), missing, values.dtype)
    old[rows >= len(values)] = missing
    if np.array_equal(old, new, equal_nan=values.dtype.kind == "f"):
        return values
    copy = np.full(max(len(values), n_rows if len(longer) else 0), missing, values.dtype)
    copy[: len(values)] = values
    inside = rows < len(copy)
    copy[rows[inside]] = new[inside]
    return copy


def same(values: Array, missing: Any) -> Array:
    """A mask of the values that stand for none."""
    return np.isnan(values) if values.dtype.kind == "f" else values == missing


def number_of(value: Any) -> float | None:
    """A value as a number of a column; None for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and value.bit_length() >= LARGEST_EXPONENT:
        return None
    return float(value)


def time_of(value: Any) -> float | None:
    """A value as a time of a column: ISO 8601 text, or unix seconds."""
    return parse_time(value) if isinstance(value, str) else number_of(value)
