"""Turns a column of an item table into attribute values of one type: as declared, or as its values tell."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from index.attribute_types import AttributeType, fits, parse_time
from index.errors import InputError
from trainer.datasets.times import UNKNOWN, read_times
from trainer.datasets.written_numbers import written_numbers
from trainer.datasets.written_times import attribute_time

FLAGS = {"true": True, "false": False, "yes": True, "no": False}
DECLARED_FLAGS = FLAGS | {"1": True, "0": False, "t": True, "f": False, "y": True, "n": False, "on": True, "off": False}
NEVER_TEXT = ("", "nan", "nat", "null", "n/a", "\\n")  # of UNKNOWN, those that are no words
# Columns of these names hold ids, also where all of them are numbers.
ID_NAME = re.compile(r"(?:^|[^A-Za-z]|[a-z](?=[A-Z]))(?i:id|sku|ean|gtin|upc|isbn|asin|barcode|zip|postcode|phone)s?$")
MOSTLY = 0.5  # of the values of a column that are numbers, from which on a note says why it is text
SHOWN = 80  # characters of a value
EXPECTED: dict[AttributeType, str] = {
    "string": "text",
    "list": "texts with the separator of --list-separator between them, or lists",
    "number": "numbers such as 12, 4.5 or 1,299.50",
    "boolean": "true or false, yes or no, 1 or 0",
    "time": "ISO 8601, such as 2026-11-29 or 2026-11-29T21:40:00Z, or unix seconds",
}


@dataclass(frozen=True)
class AttributeValues:
    """The values of one attribute, None where an item has none."""

    values: list[Any]
    notes: tuple[str, ...] = ()


def attribute_values(
    column: pl.Series, declared: AttributeType | None, *, separator: str, written: bool
) -> AttributeValues:
    """The column's values as the type that is declared, or that all of them have.

    `written`: the values are separated text, of which numbers and truth values are told by their looks; else text is
    text or a time. InputError: a value is not of the declared type.
    """
    if column.null_count() == len(column):
        return AttributeValues([None] * len(column))
    if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
        text = _without(column.cast(pl.String).str.strip_chars(), NEVER_TEXT)
        if declared is not None:
            return AttributeValues(_of_declared_text(text, declared, separator))
        return _by_looks(text) if written else AttributeValues(_times(text) or text.to_list())
    if declared is None:
        return AttributeValues([_plain(value) for value in column.to_list()])
    known = column.fill_nan(None) if column.dtype.is_float() else column
    if declared == "time" and column.dtype.is_numeric():
        return AttributeValues(_checked(known, map(_moment, read_times(known).seconds), declared))
    return AttributeValues(_checked(known, (_converted(value, declared) for value in known.to_list()), declared))


def _by_looks(text: pl.Series) -> AttributeValues:
    known = _without(text, UNKNOWN)
    if known.null_count() == len(known):
        return AttributeValues(text.to_list())
    flags = known.str.to_lowercase()
    if flags.drop_nulls().is_in(list(FLAGS)).all():
        return AttributeValues([FLAGS.get(flag) for flag in flags])
    numbers = written_numbers(known)
    if not numbers.strange.any() and not ID_NAME.search(text.name) and _any_finite(numbers.values):
        note = f"{text.name}: numbers with {numbers.thousands!r} between thousands (--attribute-types overrides)"
        return AttributeValues(numbers.values, (note,) if numbers.thousands else ())
    if times := _times(known):
        return AttributeValues(times)
    return AttributeValues(text.to_list(), _why_text(known, numbers.strange))


def _why_text(known: pl.Series, strange: pl.Series) -> tuple[str, ...]:
    """A note where most values look like numbers."""
    count, total = int(strange.sum()), len(known) - known.null_count()
    if not 0 < count <= MOSTLY * total:
        return ()
    first = known.filter(strange)[0][:SHOWN]
    return (f"{known.name}: kept as text, because {count:,} of {total:,} values are no plain numbers, first {first!r}",)


def _of_declared_text(text: pl.Series, declared: AttributeType, separator: str) -> list[Any]:
    if declared == "string":
        return text.to_list()
    if declared == "list":
        return [_parts(value, separator) for value in text]
    known = _without(text, UNKNOWN)
    if declared == "number":
        return _checked(known, written_numbers(known).values, declared)
    if declared == "boolean":
        return _checked(known, map(DECLARED_FLAGS.get, known.str.to_lowercase()), declared)
    if not written_numbers(known).strange.any():
        return _checked(known, map(_moment, read_times(known).seconds), declared)
    return [time or None for time in _checked(known, map(_time, known), declared)]


def _checked(known: pl.Series, values: Iterable[Any], declared: AttributeType) -> list[Any]:
    """The values; InputError where one is None though it is known."""
    found = list(values)
    bad = [one for one, value in zip(known.to_list(), found, strict=True) if one is not None and value is None]
    if bad:
        raise InputError(
            f"attribute {known.name!r} is declared as {declared}, but {len(bad):,} of {len(known):,} values are none,"
            f" first {str(bad[0])[:SHOWN]!r}; expected {EXPECTED[declared]} (--attribute-types)"
        )
    return found


def _converted(value: Any, declared: AttributeType) -> Any:
    """One value that is no text as a value of the type; None where it is none."""
    value = _plain(value)
    if value is None:
        return None
    if fits(value, declared):
        return value
    if declared == "list" and isinstance(value, list):
        texts = [_as_text(one) for one in value if one is not None]
        return None if None in texts else texts
    if declared == "boolean" and not isinstance(value, bool) and value in (0, 1):
        return bool(value)
    return _as_text(value) if declared == "string" else None


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def _parts(value: str | None, separator: str) -> list[str] | None:
    return None if value is None else [part for one in value.split(separator) if (part := one.strip())]


def _times(text: pl.Series) -> list[str | None] | None:
    """The texts as times, where all of them are times; as they are written where every reader takes them so."""
    moments = {value: attribute_time(value) for value in text.drop_nulls().unique()}
    if not any(moments.values()) or None in moments.values():
        return None
    if all(parse_time(value) is not None for value in moments):
        return text.to_list()
    return [None if value is None else moments[value] or None for value in text]


def _time(value: str | None) -> str | None:
    return None if value is None else attribute_time(value)


def _moment(second: float | None) -> str | None:
    return None if second is None else datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _any_finite(values: Iterable[float | None]) -> bool:
    return any(value is not None and math.isfinite(value) for value in values)


def _without(text: pl.Series, unknown: Sequence[str]) -> pl.Series:
    known = ~text.str.to_lowercase().is_in(list(unknown))
    return pl.select(pl.when(known).then(text).alias(text.name)).to_series()


def _plain(value: Any) -> Any:
    """A value of a typed file as JSON has it: times in ISO 8601, decimal numbers as floats, NaN as None."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
