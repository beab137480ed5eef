"""Finds columns by name; converts values to numbers and text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from index.errors import InputError
from trainer.datasets.reading import TableFile
from trainer.datasets.separated import TYPED

SHOWN_COLUMNS, SHOWN_LETTERS = 30, 60

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
TITLE = ColumnRole("title", "--title-column", ("title", "name", "itemname", "productname", "movietitle"))
CATEGORY = ColumnRole("category", "--category-column", ("category", "categories", "genres", "genre", "producttype"))
BRAND = ColumnRole("brand", "--text-columns", ("brand", "brandname"))
DESCRIPTION = ColumnRole(
    "description", "--text-columns", ("description", "overview", "summary", "abstract", "text", "detaildesc")
)


def find_column(table: TableFile, role: ColumnRole, named: str | None) -> str | None:
    """The column named by the option, or else the first with a usual name; None where neither exists."""
    if named is not None:
        spellings = (named, named.strip(), TYPED.sub(r"\1", named.strip()))
        chosen = next((name for name in spellings if name in table.columns), None)
        if chosen is None:
            raise InputError(f"{table.file} has no column {named!r} ({role.option}); it has: {_listed(table)}")
        return chosen
    by_plain_name = {_plain(column): column for column in reversed(table.columns)}
    return next((by_plain_name[name] for name in role.usual if name in by_plain_name), None)


def need_column(table: TableFile, role: ColumnRole, named: str | None) -> str:
    """As `find_column`; InputError, with the columns there are, where it finds none."""
    found = find_column(table, role, named)
    if found is None:
        raise InputError(
            f"{table.file}: which column is the {role.what}? name it with {role.option}; it has: {_listed(table)}"
        )
    return found


def as_numbers(column: pl.Series) -> pl.Series:
    """Float64, null where empty or NaN; InputError at the first value that is no number of a float32."""
    if column.dtype.is_nested() or column.dtype.is_temporal() or column.dtype == pl.Binary:
        raise InputError(f"column {column.name!r} holds {column.dtype}, expected numbers")
    text = column if column.dtype.is_numeric() or column.dtype == pl.Boolean else _stripped(column.cast(pl.String))
    read = text.cast(pl.Float64, strict=False)
    numbers = read.fill_nan(None)
    strange = text.filter((read.is_null() & text.is_not_null()) | (numbers.abs() > LARGEST))
    if len(strange):
        raise InputError(
            f"column {column.name!r} has {len(strange):,} values that are no finite numbers, first {strange[0]!r};"
            f" write them as 4.5, or name another column with {RATING.option}"
        )
    return numbers


def as_text(column: pl.Series) -> pl.Series:
    """Strings, "" where empty; the values of lists and records, joined by blanks."""
    if column.dtype.is_nested():
        column = pl.Series(column.name, [" ".join(_words(value)) for value in column.to_list()], dtype=pl.String)
    try:
        return column.cast(pl.String).fill_null("").str.strip_chars()
    except pl.exceptions.PolarsError as error:
        raise InputError(f"column {column.name!r} holds {column.dtype} that is no text") from error


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _words(part)
    elif value is not None:
        yield str(value)


def _listed(table: TableFile) -> str:
    shown = ", ".join(name[:SHOWN_LETTERS] for name in table.columns[:SHOWN_COLUMNS])
    more = len(table.columns) - SHOWN_COLUMNS
    return f"{shown}{f' and {more:,} more' if more > 0 else ''}{table.advice}"


def _plain(column: str) -> str:
    return "".join(letter for letter in column.lower() if letter.isalnum())


def _stripped(column: pl.Series) -> pl.Series:
    return column.str.strip_chars().replace("", None)
