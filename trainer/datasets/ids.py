"""Turns a column into ids, the same way for interactions, item tables and the names of pictures."""

from dataclasses import dataclass

import polars as pl

from index.errors import InputError

POINT = r"\.0+$"  # after a whole number: how pandas writes a column that has gaps
NUMBER = r"^-?\d+(?:\.0+)?$"
SCIENTIFIC = r"^[+-]?\d+(?:\.\d+)?[eE]\+\d+$"  # how spreadsheets and pandas write long numbers
NOT_A_NUMBER = r"^(?i)[+-]?nan$"
INFINITE = r"^(?i)[+-]?inf(?:inity)?$"
EXACT_BELOW = {"Float16": 2**11, "Float32": 2**24, "Float64": 2**53}  # from here on, floats skip whole numbers
INTEGERS, FLOATS, TEXT = "integers", "numbers, without a .0", "text"


@dataclass(frozen=True)
class Ids:
    """Ids as strings, null where there is none, and what they were."""

    values: pl.Series
    kind: str


def as_ids(column: pl.Series) -> pl.Series:
    """As `read_ids`, without the kind."""
    return read_ids(column).values


def read_ids(column: pl.Series, *, exact: bool = False) -> Ids:
    """Ids without surrounding blanks; whole numbers that were stored or written as floats lose their ".0".

    NaN is no id. With `exact`, text is taken as it stands. InputError: values that are no ids (dates, lists, truth
    values ...), or floats so large that they stand for several whole numbers.
    """
    column = column.alias(column.name)
    kind = column.dtype
    if kind.is_float():
        return Ids(_of_floats(column), FLOATS)
    if kind.is_integer():
        return Ids(column.cast(pl.String), INTEGERS)
    if isinstance(kind, pl.Decimal):
        return Ids(column.cast(pl.String).str.replace(POINT, ""), FLOATS)
    if not isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Binary | pl.Null):
        raise InputError(f"column {column.name!r} holds {kind}, which cannot be an id")
    text = _text(column)
    if exact:
        return Ids(text.replace("", None), TEXT)
    return _of_text(text.str.strip_chars().replace("", None))


def _of_floats(column: pl.Series) -> pl.Series:
    numbers, limit = column.fill_nan(None), EXACT_BELOW[str(column.dtype)]
    too_large = numbers.filter(numbers.abs() >= limit)
    if len(too_large):
        raise InputError(_inexact(column.name, len(too_large), too_large[0], limit))
    integers = numbers.cast(pl.Int64)
    is_whole = numbers == integers
    return pl.select(
        pl.when(is_whole).then(integers.cast(pl.String)).otherwise(numbers.cast(pl.String)).alias(column.name)
    ).to_series()


def _of_text(text: pl.Series) -> Ids:
    """Where every other value is a whole number, a NaN is a gap, and a .0 comes from a float."""
    gaps = text.str.contains(NOT_A_NUMBER)
    known = text.filter(~gaps).drop_nulls()
    infinite = known.str.contains(INFINITE)
    scientific = known.str.contains(SCIENTIFIC)
    numbers = known.filter(~(infinite | scientific))
    if scientific.any() and numbers.str.contains(NUMBER).all():
        raise InputError(
            f"column {text.name!r} holds numbers such as {known.filter(scientific)[0]!r}, which may lack digits, so"
            " different ids may be one; write ids as whole numbers or text, or --ids exact takes them as they stand"
        )
    if numbers.is_empty() or not numbers.str.contains(NUMBER).all():
        return Ids(text, TEXT)
    if infinite.any():
        raise InputError(
            f"column {text.name!r} holds numbers and {known.filter(infinite)[0]!r}, which is no id;"
            " --ids exact takes it for one"
        )
    text = text.set(gaps.fill_null(value=False), None)
    floats = numbers.filter(numbers.str.contains(POINT))
    if floats.is_empty():
        return Ids(text, TEXT)
    too_large = floats.filter(floats.cast(pl.Float64).abs() >= EXACT_BELOW["Float64"])
    if len(too_large):
        raise InputError(_inexact(text.name, len(too_large), too_large[0], EXACT_BELOW["Float64"]))
    return Ids(text.str.replace(r"^-(0\.0)", "$1").str.replace(POINT, ""), FLOATS)


def _text(column: pl.Series) -> pl.Series:
    try:
        text = column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"column {column.name!r} holds bytes that are no text, which cannot be ids") from error
    if (broken := text.filter(text.str.contains("\0", literal=True))).len():
        raise InputError(f"column {column.name!r} has ids with a zero byte, first {broken[0]!r}: is the file damaged?")
    return text


def _inexact(name: str, count: int, first: object, limit: int) -> str:
    return (
        f"column {name!r} has {count:,} floats of {limit:,} and more, first {first}: a float of that size stands for"
        " several whole numbers, so different ids may be one; store ids as integers or text"
    )
