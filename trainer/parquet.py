"""Reads Parquet files, whatever their names hold: polars takes a path for a pattern, but not an open file."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import polars as pl

from index.errors import InputError
from index.reading import read_file

PARSER_ERRORS = (
    OSError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)


def read_parquet(file: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The whole table, or some columns of it; InputError where the file is missing or damaged, or lacks a column."""
    chosen = list(columns) if columns is not None else None
    return read_file(file, lambda content: pl.read_parquet(content, columns=chosen), "expected a Parquet table")


def parse_parquet(file: Path, content: memoryview) -> pl.DataFrame:
    """As `read_parquet`, of content that has been read."""
    try:
        return pl.read_parquet(BytesIO(content))
    except PARSER_ERRORS as error:
        raise InputError(f"{file} cannot be read as a parquet table: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of a library's error, without its advice."""
    return str(error).partition("\n")[0]
