"""Reads dates and times that are written as text as unix seconds."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import polars as pl

from index.errors import InputError

# 2019-10-01, 2019/10/1 9:05, 2019-10-01T00:00:00.5+02:00, 2019-10-01 00:00:00 UTC, 2019-10-01 00:00:00 +0000 UTC
YEAR_FIRST = re.compile(
    r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})"
    r"(?:(?:T|\s+)(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?"
    r"\s*(?:([+-]\d{2}):?(\d{2})?)?\s*(?:Z|UTC|GMT)?)?",
    re.IGNORECASE,
)
MAIL = re.compile(
    r"(?:[a-z]{3},\s*)?\d{1,2}\s+[a-z]{3}\s+\d{4}\s+\d{2}:\d{2}(?::\d{2})?\s+(?:[+-]\d{4}|GMT|UTC?)", re.I
)
DAY_OR_MONTH_FIRST = re.compile(r"\d{1,2}([-/.])\d{1,2}\1(?:\d{4}|\d{2})\b.*", re.DOTALL)
NO_DAY = re.compile(r"0000([-/.])00?\100?\b.*", re.DOTALL)  # how some databases write an unknown date
BEFORE_1970 = -1
FORMATS = "say how they are written with --time-format, such as %d/%m/%Y or '%m/%d/%Y %H:%M:%S'"
EXAMPLE = datetime(2019, 10, 1, tzinfo=UTC)


def written_seconds(text: pl.Series) -> pl.Series:
    """Whole seconds since 1970, in UTC where the text names no zone; null where there is no text.

    Takes ISO 8601 and its usual variants, and dates as mail and HTTP write them. InputError: other text, such as a date
    that begins with the day or the month.
    """
    return _each(text, _written_second, _doubt)


def formatted_seconds(text: pl.Series, pattern: str) -> pl.Series:
    """As `written_seconds`, of text in one format of `strptime`."""
    try:
        has_year = datetime.strptime(EXAMPLE.strftime(pattern), pattern).year == EXAMPLE.year
    except (ValueError, re.error) as error:
        raise InputError(f"--time-format {pattern!r} is no format of times ({error}); {FORMATS}") from error
    if not has_year or "%Z" in pattern:
        raise InputError(f"--time-format {pattern!r} has no year, or a zone by name (%Z; %z reads +0100); {FORMATS}")
    return _each(text, lambda value: _seconds(datetime.strptime(value, pattern)), lambda _: f"expected {pattern!r}")


def attribute_time(value: str) -> str | None:
    """A written day or moment in ISO 8601 form, moments in UTC; "" for a day that is all zeros, None for other text."""
    if NO_DAY.fullmatch(value):
        return ""
    if not (YEAR_FIRST.fullmatch(value) or MAIL.fullmatch(value)):
        return None
    second = _or_none(_written_second, value)
    if second is None:
        return None
    moment = datetime.fromtimestamp(second, UTC).isoformat()
    return moment.replace("+00:00", "Z") if ":" in value else moment[: len("2019-10-01")]


def _each(text: pl.Series, parse: Callable[[str], int], expected: Callable[[str], str]) -> pl.Series:
    values = text.drop_nulls().unique(maintain_order=True)
    seconds = [_or_none(parse, value) for value in values]
    if None in seconds:
        bad = [value for value, second in zip(values, seconds, strict=True) if second is None]
        count = text.is_in(bad).sum()
        raise InputError(
            f"column {text.name!r}: {count:,} of {len(text):,} values cannot be read as times,"
            f" first {bad[0][:80]!r}; {expected(bad[0])}"
        )
    if values.is_empty():  # polars would replace nothing, and keep text
        return pl.Series(text.name, [None] * len(text), dtype=pl.Float64)
    return text.replace_strict(values, pl.Series(seconds, dtype=pl.Float64), return_dtype=pl.Float64)


def _doubt(value: str) -> str:
    if DAY_OR_MONTH_FIRST.fullmatch(value):
        return f"it may begin with the day or the month; {FORMATS}"
    return f"expected unix times or ISO 8601, such as 2019-10-01T00:00:00Z; {FORMATS}"


def _or_none(parse: Callable[[str], int], value: str) -> int | None:
    try:
        return parse(value)
    except (ValueError, OverflowError):
        return None


def _written_second(value: str) -> int:
    with suppress(ValueError):  # the quickest way for most
        return _seconds(datetime.fromisoformat(value.removesuffix(" UTC")))
    if found := YEAR_FIRST.fullmatch(value):
        return BEFORE_1970 if NO_DAY.fullmatch(value) else _of_parts(found)
    if MAIL.fullmatch(value):
        return _seconds(parsedate_to_datetime(value))
    raise ValueError(value)


def _of_parts(found: re.Match[str]) -> int:
    year, _, month, day, hour, minute, second, hours, minutes = found.groups()
    zone = timezone(timedelta(hours=int(hours or 0), minutes=int(f"{(hours or '+')[0]}{minutes or 0}")))
    clock = (int(hour or 0), int(minute or 0), int(second or 0))
    return _seconds(datetime(int(year), int(month), int(day), *clock, tzinfo=zone))


def _seconds(moment: datetime) -> int:
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
