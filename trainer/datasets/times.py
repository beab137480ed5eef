"""Reads a column of times, however written, as unix seconds; says what it guessed and which option overrides it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from index.errors import InputError
from trainer.datasets.written_times import formatted_seconds, written_seconds

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # how many a second
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
SECONDS_END = 1e11  # this and more (the year 5138 in seconds, 1973 in milliseconds) is a finer unit than seconds
LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()  # no interaction happens from here on
GAP = 10 * 365.25 * 86_400  # s: what is so far from all others is a stand-in for "unknown", or a slip
END_OF_32_BITS = 2**31 - 1  # in 2038; a usual stand-in
UNKNOWN = ("", "-", "?", "na", "n/a", "nan", "nat", "none", "null", "unknown", "\\n")  # in small letters
FIRST_DAY, LAST_DAY = 1970_01_01, 2099_12_31  # written as one number


@dataclass(frozen=True)
class TimeOptions:
    """How a column of times is written, where a person says so."""

    unit: TimeUnit = "auto"
    format: str | None = None
    """As `strptime` takes it, for instance %d/%m/%Y."""

    def __post_init__(self) -> None:
        if self.unit != "auto" and self.format is not None:
            raise InputError("--time-unit is for times that are numbers, --time-format for text; expected one of them")


AUTO = TimeOptions()


@dataclass(frozen=True)
class Times:
    """Whole seconds since 1970 in UTC, null where unknown, and what a person should know of how they were read."""

    seconds: pl.Series  # Int64
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Moments:
    """Seconds since 1970 before any is left out, null where the column has no value."""

    seconds: pl.Series  # Float64
    units: pl.Series | None = None  # the guessed unit of each
    notes: tuple[str, ...] = ()


def read_times(column: pl.Series, options: TimeOptions = AUTO) -> Times:
    """Read unix times of any unit, written dates and times, or a column of dates.

    A value that is no possible time, or lies ten years or more from the bulk of the others where no option says how
    times are written, becomes null and is named in a note. InputError: the column holds something else, text that
    cannot be read without doubt, or no time between 1970 and 2100.
    """
    read = _moments(column, options)
    possible = read.seconds.filter(read.seconds.is_between(0, LATEST, closed="left"))
    if possible.is_empty() and (read.seconds.abs() > 0).any():
        raise _no_time(column.name, column.filter(read.seconds != 0)[0], options)
    first, last = _bulk(possible) if options == AUTO else (0.0, LATEST)
    kept = (read.seconds.is_between(first, last) & (read.seconds < LATEST)).fill_null(value=False)
    seconds = pl.select(pl.when(kept).then(read.seconds.floor()).cast(pl.Int64).alias(column.name)).to_series()
    strange = column.filter(read.seconds.is_not_null() & ~kept)
    units = read.units.filter(kept) if read.units is not None else None
    return Times(
        seconds, (*read.notes, *_unit_note(column.filter(kept), units), *_strange_note(column, strange, options))
    )


def _no_time(name: str, first: object, options: TimeOptions) -> InputError:
    how = f" as {options.format or NAMES[options.unit]}" if options != AUTO else ""
    advice = "name the unit with --time-unit (s, ms, us or ns), or the form with --time-format, such as %Y%m%d%H%M%S"
    found = f"column {name!r}: no value read{how} lies between 1970 and 2100, first {first}"
    return InputError(found if how else f"{found}; {advice}")


def _moments(column: pl.Series, options: TimeOptions) -> _Moments:
    kind = column.dtype
    if kind == pl.Null:
        return _Moments(column.cast(pl.Float64))
    if isinstance(kind, pl.Date | pl.Datetime):
        return _Moments(_of_dates(column))
    if isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        text = column.cast(pl.String).str.strip_chars()
        known = ~text.str.to_lowercase().is_in(UNKNOWN)
        return _of_text(pl.select(pl.when(known).then(text).alias(column.name)).to_series(), options)
    if not kind.is_numeric():
        raise InputError(
            f"column {column.name!r} holds {kind}, which is no time; expected unix times, dates or text"
            " (--time-column names another column)"
        )
    if options.format is not None:
        return _Moments(formatted_seconds(column.cast(pl.Int64, strict=False).cast(pl.String), options.format))
    return _of_numbers(column.cast(pl.Float64, strict=False), options)


def _of_dates(column: pl.Series) -> pl.Series:
    stored = column.to_physical().cast(pl.Float64)
    return stored / UNITS[column.dtype.time_unit] if isinstance(column.dtype, pl.Datetime) else stored * 86_400


def _of_text(text: pl.Series, options: TimeOptions) -> _Moments:
    if options.format is not None:
        return _Moments(formatted_seconds(text, options.format))
    numbers = text.cast(pl.Float64, strict=False)
    is_written = numbers.is_null() & text.is_not_null()
    read = _of_numbers(numbers, options)
    if not is_written.any():
        return read
    written = written_seconds(pl.select(pl.when(is_written).then(text).alias(text.name)).to_series())
    note = f"{text.name}: read as dates and times, in UTC where they name no zone (--time-format overrides)"
    return _Moments(pl.select(pl.coalesce(written, read.seconds)).to_series(), read.units, (*read.notes, note))


def _of_numbers(numbers: pl.Series, options: TimeOptions) -> _Moments:
    """Where no unit is named, each number by its own size, so that one value decides nothing for the others."""
    numbers = numbers.fill_nan(None)
    if options.unit != "auto":
        return _Moments(numbers / UNITS[options.unit])
    if _are_days(numbers):
        note = f"{numbers.name}: read as days written YYYYMMDD (--time-unit or --time-format overrides)"
        return _Moments(formatted_seconds(numbers.cast(pl.Int64).cast(pl.String), "%Y%m%d"), notes=(note,))
    sizes = numbers.abs() / SECONDS_END
    unit = (
        pl.when(sizes < 1).then(pl.lit("s")).when(sizes < 1e3).then(pl.lit("ms")).when(sizes < 1e6).then(pl.lit("us"))
    )
    units = pl.select(pl.when(numbers.is_not_null()).then(unit.otherwise(pl.lit("ns")))).to_series()
    return _Moments(numbers / units.replace_strict(UNITS, return_dtype=pl.Float64), units)


def _are_days(numbers: pl.Series) -> bool:
    known = numbers.drop_nulls()
    month, day = known // 100 % 100, known % 100
    written = known.is_between(FIRST_DAY, LAST_DAY) & (known % 1 == 0)
    return len(known) > 0 and bool((written & month.is_between(1, 12) & day.is_between(1, 31)).all())


def _bulk(possible: pl.Series) -> tuple[float, float]:
    """First and last of the largest group of times without a gap of ten years, equal times counted once.

    Of equally large groups the latest, but for the end of 32 bits. Zero is in the group only if it is near.
    """
    distinct = possible.filter(possible > 0).unique().sort()
    if distinct.is_empty():
        return 0.0, LATEST
    group = (distinct.diff().fill_null(0) > GAP).cast(pl.Int64).cum_sum().alias("group")
    groups = (
        pl.DataFrame([distinct.alias("time"), group])
        .group_by("group")
        .agg(pl.len(), pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
        .sort("len", pl.col("first") < END_OF_32_BITS, "first")
    )
    first, last = groups.row(-1)[2:]
    return (0.0 if first < GAP else first), last


def _unit_note(column: pl.Series, units: pl.Series | None) -> tuple[str, ...]:
    if units is None or units.null_count() == len(units):
        return ()
    found = pl.DataFrame({"unit": units, "value": column}).drop_nulls("unit")
    counts = found.group_by("unit").agg(pl.len(), pl.col("value").first()).sort("len", descending=True).rows()
    if len(counts) == 1:
        return (f"{column.name}: read as {NAMES[counts[0][0]]} since 1970, told by size (--time-unit overrides)",)
    each = " and ".join(f"{count:,} as {NAMES[unit]} (first {value})" for unit, count, value in counts)
    return (f"{column.name}: mixed units, each value read by its size: {each} (--time-unit reads all in one)",)


def _strange_note(column: pl.Series, strange: pl.Series, options: TimeOptions) -> tuple[str, ...]:
    if strange.is_empty():
        return ()
    told = f"{column.name}: {len(strange):,} of {len(column):,} values are no possible times"
    far = ", or ten years or more from the others" if options == AUTO else ""
    kept = " (a named --time-unit keeps all of 1970 to 2099)" if options == AUTO else ""
    return (f"{told}{far}, and are taken as unknown; first {strange[0]}{kept}",)
