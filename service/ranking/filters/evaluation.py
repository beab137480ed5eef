"""Evaluates a filter on typed columns: a mask of the rows that match, and warnings about what no item has."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from index.attribute_types import parse_time
from index.ids import IdTable
from service.errors import InvalidRequestError
from service.ranking.filters.columns import BooleanColumn, Column, NumberColumn
from service.ranking.filters.expression import (
    And,
    Boolean,
    Comparison,
    Containment,
    Existence,
    Expression,
    FromNow,
    Membership,
    Moment,
    Not,
    Number,
    Or,
    Test,
    Text,
    Value,
    values_of,
)
from service.ranking.filters.messages import (
    TEXTS,
    check_operator,
    did_you_mean,
    known_names,
    mismatch,
    range_of,
    shortened,
    shown_name,
)
from service.ranking.filters.suggestions import SHOWN, listed, nearest, nearest_values
from service.ranking.filters.text_columns import LONGEST_VALUE, MOST_VALUES, ListColumn, TextColumn
from service.ranking.filters.titles import TitleColumn

Array = np.ndarray[Any, Any]
Steps = Generator[None, None, Array]

MOST_WARNINGS = 10
CATEGORY, CATEGORIES, ITEM_ID, TITLE = "category", "categories", "item_id", "title"
RESERVED = (CATEGORY, ITEM_ID, TITLE)


class Catalogue(NamedTuple):
    """What a filter is evaluated on."""

    n_rows: int
    columns: Mapping[str, Column]  # by name, CATEGORY and AVAILABLE among them
    unheld: frozenset[str]  # names of attributes beyond the limits
    titles: TitleColumn
    item_ids: IdTable


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows that match a filter, and what a caller may have misspelt."""

    rows: Array  # (r,) int64, ascending
    warnings: tuple[str, ...]


class Evaluation:
    """One evaluation of a filter at a time in unix seconds."""

    def __init__(self, catalogue: Catalogue, now: float) -> None:
        self._catalogue = catalogue
        self._now = now
        self._warnings: dict[str, None] = {}

    def select(self, expression: Expression) -> Generator[None, None, Selection]:
        """The matching rows; may be paused at each yield. InvalidRequestError where types do not fit."""
        mask = yield from self._mask(expression)
        return Selection(np.flatnonzero(mask), tuple(self._warnings))

    def _mask(self, expression: Expression) -> Steps:
        if isinstance(expression, Not):
            return ~(yield from self._mask(expression.part))
        if not isinstance(expression, And | Or):
            mask = yield from self._test(expression)
            yield
            return self._whole(mask)
        join = np.logical_and if isinstance(expression, And) else np.logical_or
        mask = yield from self._mask(expression.parts[0])
        for part in expression.parts[1:]:
            join(mask, (yield from self._mask(part)), out=mask)
        return mask

    def _whole(self, mask: Array) -> Array:
        """The mask with the rows that its column lacks."""
        if len(mask) == self._catalogue.n_rows:
            return mask
        whole = np.zeros(self._catalogue.n_rows, np.bool_)
        whole[: len(mask)] = mask
        return whole

    def _test(self, test: Test) -> Steps:
        if test.name == TITLE:
            return (yield from self._test_title(test))
        if test.name == ITEM_ID:
            return self._test_id(test)
        if test.name == CATEGORY:
            return self._test_category(test)
        column = self._catalogue.columns.get(test.name)
        if column is None:
            return self._unknown(test.name)
        return self._test_column(test, column)

    def _unknown(self, name: str) -> Array:
        catalogue = self._catalogue
        if name in catalogue.unheld:
            raise InvalidRequestError(
                f"filter: {shown_name(name)} is not held for filters, as the items have too many attributes"
            )
        known = sorted({*catalogue.columns, *RESERVED})
        like = nearest(name, known)
        self._warn(f"no item has the attribute {shown_name(name)}{did_you_mean(like) or known_names(known)}")
        return np.zeros(catalogue.n_rows, np.bool_)

    def _test_column(self, test: Test, column: Column) -> Array:
        if isinstance(test, Existence):
            return column.exists()
        check_operator(test, column.type)
        if isinstance(column, TextColumn | ListColumn) and column.too_many:
            raise InvalidRequestError(
                f"filter: {shown_name(test.name)} has more than {MOST_VALUES:,} different values; expected exists alone"
            )
        values = [self._converted(test, value, column.type) for value in values_of(test)]
        mask = _masked(test, column, values)
        if not (isinstance(test, Comparison) and test.operator == "!="):
            self._warn_of_values(test, column, values, mask)
        return mask

    def _converted(self, test: Test, value: Value, kind: str) -> Any:
        """The value as the column holds it."""
        if kind == "number" and isinstance(value, Number):
            return value.value
        if kind == "boolean" and isinstance(value, Boolean):
            return value.value
        if kind == "time" and (seconds := self._seconds(value)) is not None:
            return seconds
        if kind in TEXTS and isinstance(value, Text | Moment):
            text = value.value if isinstance(value, Text) else value.text
            if len(text) > LONGEST_VALUE and kind != ITEM_ID:
                raise InvalidRequestError(f"filter: a value has {len(text)} characters, the limit is {LONGEST_VALUE}")
            return text
        raise InvalidRequestError(f"filter: {mismatch(test, value, kind)}")

    def _seconds(self, value: Value) -> float | None:
        if isinstance(value, FromNow):
            return self._now + value.seconds
        if isinstance(value, Moment):
            return value.seconds
        return parse_time(value.value) if isinstance(value, Text) else None

    def _test_title(self, test: Test) -> Steps:
        titles = self._catalogue.titles
        if isinstance(test, Existence):
            return titles.exists()
        check_operator(test, "string")
        values = [self._converted(test, value, "string") for value in values_of(test)]
        if isinstance(test, Containment):
            mask = yield from titles.containing(values[0])
        else:
            mask = np.logical_or.reduce([titles.equal(value) for value in values])
        if isinstance(test, Comparison) and test.operator == "!=":
            return titles.exists() & ~mask
        if not mask.any():
            self._warn(f"no item has a title with {listed(values[:MOST_WARNINGS])}")
        return mask

    def _test_id(self, test: Test) -> Array:
        ids, mask = self._catalogue.item_ids, np.zeros(self._catalogue.n_rows, np.bool_)
        if isinstance(test, Existence):
            return ~mask
        check_operator(test, ITEM_ID)
        wanted = [self._converted(test, value, ITEM_ID) for value in values_of(test)]
        rows = ids.rows(wanted)
        mask[rows[(rows >= 0) & (rows < len(mask))]] = True
        if isinstance(test, Comparison) and test.operator == "!=":
            return ~mask
        for item_id, row in zip(wanted, rows.tolist(), strict=True):
            if row < 0:
                self._warn(f"no item has the id {item_id[:SHOWN]!r}")
        return mask

    def _test_category(self, test: Test) -> Array:
        """An item of several categories matches by any of them."""
        first, others = self._catalogue.columns[CATEGORY], self._catalogue.columns.get(CATEGORIES)
        held = [first, *([others] if isinstance(others, ListColumn) else [])]
        exists = self._whole(first.exists()) | self._whole(held[-1].exists())
        if isinstance(test, Existence):
            return exists
        check_operator(test, CATEGORY)
        values = [self._converted(test, value, CATEGORY) for value in values_of(test)]

        mask = self._whole(first.with_text(values))
        for column in held[1:]:
            mask = mask | self._whole(column.with_text(values))
        if isinstance(test, Comparison) and test.operator == "!=":
            return exists & ~mask
        self._warn_of_texts(test.name, held, values)
        return mask

    def _warn_of_values(self, test: Test, column: Column, values: Sequence[Any], mask: Array) -> None:
        if isinstance(column, TextColumn | ListColumn):
            if isinstance(test, Containment) and isinstance(column, TextColumn):
                if not mask.any():
                    self._warn(f"no item has {shown_name(test.name)} with {listed(values)} in it")
            else:
                self._warn_of_texts(test.name, [column], values)
        elif not mask.any():
            self._warn(f"no item has {shortened(str(test))}{range_of(column)}")

    def _warn_of_texts(self, name: str, columns: Sequence[Column], values: Sequence[str]) -> None:
        texts = [one for one in columns if isinstance(one, TextColumn | ListColumn)]
        for value in values:
            codes = [(column, column.dictionary.codes.get(value)) for column in texts]
            held = any(code is not None and column.held[code] for column, code in codes)
            if not held and len(self._warnings) < MOST_WARNINGS:
                like = dict.fromkeys(text for column in texts for text in nearest_values(value, column))
                self._warn(f"no item has {shown_name(name)} {value[:SHOWN]!r}{did_you_mean(list(like))}")

    def _warn(self, text: str) -> None:
        if len(self._warnings) < MOST_WARNINGS:
            self._warnings[text] = None


def _masked(test: Test, column: Column, values: Sequence[Any]) -> Array:
    """The mask of a comparison whose operator and values fit the column."""
    if isinstance(test, Comparison) and isinstance(column, NumberColumn | BooleanColumn | TextColumn):
        return column.compared(test.operator, values[0])
    if isinstance(test, Membership) and isinstance(column, NumberColumn | BooleanColumn | TextColumn):
        return column.among(values)
    if isinstance(test, Containment) and isinstance(column, TextColumn | ListColumn):
        return column.containing(values[0])
    raise TypeError(f"{type(test).__name__} of {type(column).__name__}")  # check_operator lets none through
