"""Reads tables of various formats: finds columns by name, converts values to ids, numbers and text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from index.errors import InputError

LARGEST = 3.4e38  # about the largest float32


@dataclass(frozen=True)
class ColumnRole:
    """What a column is for, the option that names it, and the names it usually has, likeliest first."""

    what: str
    option: str
    usual: tuple[str, ...]


USER = ColumnRole("user", "--user-column", ("userid", "user", "uid", "reviewerid", "customerid", "visitorid"))
ITEM = ColumnRole(
    "item",
    "--item-column",
    ("itemid", "item", "iid", "productid", "product", "movieid", "bookid", "articleid", "asin", "sku"),
)
RATING = ColumnRole("rating", "--rating-column", ("rating", "score", "stars", "overall"))
TIME = ColumnRole(
    "time", "--time-column", ("timestamp", "time", "ts", "datetime", "date", "unixreviewtime", "createdat")
)
ITEM_ID = ColumnRole("item id", "--id-column", (*ITEM.usual, "id"))
TITLE = ColumnRole("title", "--title-column", ("title", "name", "itemname", "productname"))
CATEGORY = ColumnRole("category", "--category-column", ("category", "categories", "genres", "genre", "producttype"))
BRAND = ColumnRole("brand", "--text-columns", ("brand", "brandname"))
DESCRIPTION = ColumnRole(
    "description", "--text-columns", ("description", "overview", "summary", "abstract", "text", "detaildesc")
)


def read_table(file: Path) -> pl.DataFrame:
    """A csv, tsv, jsonl or parquet file, the first three also gzipped; csv and tsv values all as strings."""
    if not file.is_file():
        raise InputError(f"no such file: {file}")
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    try:
        if suffix in (".csv", ".tsv"):
            return pl.read_csv(file, separator="," if suffix == ".csv" else "\t", infer_schema=False)
        if suffix in (".jsonl", ".ndjson"):
            return pl.read_ndjson(file, infer_schema_length=None)
        if file.name.lower().endswith(".parquet"):
            return pl.read_parquet(file)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{file} cannot be read as a {suffix[1:]} table: {first_line(error)}") from error
    raise InputError(f"{file}: expected a name that ends in .csv, .tsv, .jsonl (or these and .gz) or .parquet")


def find_column(file: Path, columns: Sequence[str], role: ColumnRole, named: str | None) -> str | None:
    """The column named by the option, or else the first with a usual name; None where neither exists."""
    if named is not None:
        if named not in columns:
            raise InputError(f"{file} has no column {named!r} ({role.option}); it has: {', '.join(columns)}")
        return named
    by_plain_name = {_plain(column): column for column in reversed(columns)}
    return next((by_plain_name[name] for name in role.usual if name in by_plain_name), None)


def need_column(file: Path, columns: Sequence[str], role: ColumnRole, named: str | None) -> str:
    """As `find_column`; InputError, with the columns there are, where it finds none."""
    found = find_column(file, columns, role, named)
    if found is None:
        raise InputError(
            f"{file}: which column is the {role.what}? name it with {role.option}; it has: {', '.join(columns)}"
        )
    return found


def as_ids(column: pl.Series) -> pl.Series:
    """Ids as strings; whole numbers that were stored as floats lose their ".0"."""
    if column.dtype.is_nested():
        raise InputError(f"column {column.name!r} holds {column.dtype}, which cannot be an id")
    if column.dtype.is_float() and (column.drop_nulls() % 1 == 0).all():
        column = column.cast(pl.Int64)
    return column.cast(pl.String)


def as_numbers(column: pl.Series) -> pl.Series:
    """Float64, null where empty or NaN; InputError at the first value that is no number of a float32."""
    text = _stripped(column) if column.dtype == pl.String else column
    numbers = text.cast(pl.Float64, strict=False)
    strange = text.filter((numbers.is_null() & text.is_not_null()) | (numbers.abs() > LARGEST))
    if len(strange):
        raise InputError(
            f"column {column.name!r} has {len(strange):,} values that are no finite numbers, first {strange[0]!r}"
        )
    return numbers.fill_nan(None)


def as_text(column: pl.Series) -> pl.Series:
    """Strings, "" where empty; the values of lists and records, joined by blanks."""
    if column.dtype.is_nested():
        column = pl.Series(column.name, [" ".join(_words(value)) for value in column.to_list()], dtype=pl.String)
    return column.cast(pl.String).fill_null("").str.strip_chars()


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _words(part)
    elif value is not None:
        yield str(value)


def _plain(column: str) -> str:
    return "".join(letter for letter in column.lower() if letter.isalnum())


def _stripped(column: pl.Series) -> pl.Series:
    return column.str.strip_chars().replace("", None)


def first_line(error: Exception) -> str:
    """The first line of a library's error, without its advice."""
    return str(error).partition("\n")[0]
