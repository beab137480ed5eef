"""Builds columns from the values of items, one after another, without knowing their types beforehand."""

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from index.attribute_types import AttributeType, parse_time
from service.ranking.filters.columns import MISSING, Array, BooleanColumn, Column, NumberColumn, number_of
from service.ranking.filters.text_columns import (
    LONGEST_VALUE,
    MOST_VALUES,
    TOO_LONG,
    Dictionary,
    ListColumn,
    TextColumn,
    as_text,
    texts_of,
)

MOST_TEXT_COLUMNS = 64  # attributes of texts or lists, in order of appearance; the category comes on top
MOST_NUMBER_COLUMNS = 256  # attributes of numbers, times or booleans
MOST_UNHELD = 10_000  # names of further attributes, which are known but cannot be filtered by


class ColumnBuilders:
    """The builders of all attributes by name, up to the limits."""

    def __init__(self, types: Mapping[str, AttributeType], held: Mapping[str, Column]) -> None:
        self._types = types
        self._held = held  # columns that exist: they count against the limits
        self.by_name: dict[str, ColumnBuilder] = {}
        self.unheld: set[str] = set()
        self.without_value: set[str] = set()  # attributes that are null wherever they were seen, or nested

    def add(self, row: int, name: str, value: Any) -> None:
        """Add one value of an item's attribute."""
        builder = self.by_name.get(name)
        if builder is not None:
            builder.add(row, value)
        elif name not in self._held:
            if type_is_known(value):
                self._begin(row, name, value)
            elif len(self.without_value) < MOST_UNHELD:
                self.without_value.add(name)

    def _begin(self, row: int, name: str, value: Any) -> None:
        declared = self._types.get(name)
        is_text = _is_text(value) if declared is None else declared in ("string", "list")
        others = [builder.is_text for builder in self.by_name.values()]
        others += [column.type in ("string", "list") for column in self._held.values()]
        if others.count(is_text) < (MOST_TEXT_COLUMNS if is_text else MOST_NUMBER_COLUMNS):
            self.by_name[name] = ColumnBuilder(declared, is_text=is_text)
            self.by_name[name].add(row, value)
        elif len(self.unheld) < MOST_UNHELD:
            self.unheld.add(name)

    def build(self, n_rows: int) -> dict[str, Column]:
        """All columns by name, without those of attributes that no item has a value of."""
        return self.built(self.by_name, n_rows)

    @staticmethod
    def built(builders: Mapping[str, "ColumnBuilder"], n_rows: int) -> dict[str, Column]:
        """The columns of these builders."""
        columns = {name: builder.build(n_rows) for name, builder in builders.items()}
        return {name: column for name, column in columns.items() if column is not None}


def type_is_known(value: Any) -> bool:
    """Whether a value tells the type of its attribute."""
    return isinstance(value, bool | str | list | tuple) or number_of(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, str) and parse_time(value) is None)


class ColumnBuilder:
    """Builds one column of the declared type, or of the type that the values turn out to have."""

    def __init__(self, declared: AttributeType | None = None, *, is_text: bool = True) -> None:
        self._declared = declared
        self.is_text = is_text  # by its first value
        self._codes: dict[str, int] = {}
        self._texts = array("i"), array("i")  # rows and codes
        self._numbers = array("i"), array("d")
        self._whole = array("b")  # whether each number is an integer
        self._booleans = array("i"), array("b")
        self._has_lists = False
        self._times = False  # so many different texts, all of them times, that they are held as numbers
        self._too_many = False

    def add(self, row: int, value: Any) -> None:
        """Add the value of one item: text, a number, a boolean, or a list of these."""
        if isinstance(value, str):
            self._add_text(row, value)
        elif isinstance(value, bool):
            self._booleans[0].append(row)
            self._booleans[1].append(value)
        elif isinstance(value, list | tuple):
            self._has_lists = True
            if self._declared in (None, "list"):
                for text in texts_of(value):
                    self._add_text(row, text)
        elif (number := number_of(value)) is not None:
            self._numbers[0].append(row)
            self._numbers[1].append(number)
            self._whole.append(isinstance(value, int))

    def _add_text(self, row: int, text: str) -> None:
        code = self._codes.get(text)
        if code is None:
            code = self._new_code(row, text)
        if code != MISSING:
            self._texts[0].append(row)
            self._texts[1].append(code)

    def _new_code(self, row: int, text: str) -> int:
        if self._times:
            seconds = parse_time(text)
            if seconds is None:  # one text among more times than texts can be held
                self._times, self._too_many = False, True
                return TOO_LONG
            self._numbers[0].append(row)
            self._numbers[1].append(seconds)
            return MISSING
        if not text or self._too_many or len(text) > LONGEST_VALUE:
            return TOO_LONG if text else MISSING
        if len(self._codes) == MOST_VALUES:
            return self._overflow(row, text)
        return self._codes.setdefault(text, len(self._codes))

    def _overflow(self, row: int, text: str) -> int:
        """Hold the texts as times where all of them are, else none of them."""
        self._times = self._all_times()
        self._too_many = not self._times
        if not self._times:
            self._codes = {}
            return TOO_LONG
        self._times_to_numbers()
        return self._new_code(row, text)

    def _all_times(self) -> bool:
        if self._declared is not None:
            return self._declared == "time"
        others = self._has_lists or self._numbers[0] or self._booleans[0] or TOO_LONG in self._texts[1]
        return bool(self._codes) and not others and all(parse_time(text) is not None for text in self._codes)

    def _times_to_numbers(self) -> None:
        """Move the texts to the numbers, in unix seconds; others than times are left out."""
        seconds = [parse_time(text) for text in self._codes]
        for row, code in zip(*self._texts, strict=True):
            if code >= 0 and (second := seconds[code]) is not None:
                self._numbers[0].append(row)
                self._numbers[1].append(second)
        self._codes, self._texts = {}, (array("i"), array("i"))

    def build(self, n_rows: int) -> Column | None:
        """The column of n_rows rows; None without any value."""
        found = self._type()
        if found is None:
            return None
        if found == "number":
            return NumberColumn(_dense(n_rows, np.nan, np.float64, *self._numbers))
        if found == "boolean":
            return BooleanColumn(_dense(n_rows, MISSING, np.int8, *self._booleans))
        if found == "time":
            self._times_to_numbers()
            return NumberColumn(_dense(n_rows, np.nan, np.float64, *self._numbers), "time")
        self._rest_to_texts()
        rows, codes = np.array(self._texts[0], np.int32), np.array(self._texts[1], np.int32)
        if self._too_many:
            codes[:] = TOO_LONG
        dictionary = Dictionary(self._codes)
        if found == "string":
            return TextColumn(dictionary, _dense(n_rows, MISSING, np.int32, rows, codes), self._too_many)
        order = np.argsort(rows, kind="stable")
        return ListColumn(dictionary, rows[order], codes[order], n_rows, self._too_many)

    def _type(self) -> AttributeType | None:
        if self._declared is not None or not (self._texts[0] or self._numbers[0] or self._booleans[0]):
            return self._declared
        if self._has_lists:
            return "list"
        if self._times or self._all_times():
            return "time"
        if self._texts[0] or (self._numbers[0] and self._booleans[0]):
            return "string"
        return "number" if self._numbers[0] else "boolean"

    def _rest_to_texts(self) -> None:
        """Numbers and booleans among texts count as texts, as JSON writes them."""
        for row, number, whole in zip(*self._numbers, self._whole, strict=False):
            self._add_text(row, as_text(int(number) if whole else number) or "")
        for row, value in zip(*self._booleans, strict=True):
            self._add_text(row, as_text(bool(value)) or "")


def _dense(n_rows: int, missing: Any, dtype: Any, rows: Any, values: Any) -> Array:
    dense = np.full(n_rows, missing, dtype)
    dense[np.array(rows, np.int64)] = np.array(values, dtype)
    return dense
