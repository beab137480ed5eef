"""Reads JSON: one object a line, or one array of objects."""

import json
import re
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from polars import selectors

from index.errors import InputError
from trainer.parquet import PARSER_ERRORS, first_line

# Python and others write numbers that JSON does not have; each is read as the nearest that it has.
STAND_INS = {b"NaN": b"null", b"Infinity": b"%r" % sys.float_info.max, b"-Infinity": b"%r" % -sys.float_info.max}
NO_JSON = rb"(?:NaN|-?Infinity)\b"
UP_TO_ONE = re.compile(
    rb'((?:[^"NI-]++|"(?:[^"\\]++|\\.)*+"|(?!' + NO_JSON + rb")[NI-])*+)(" + NO_JSON + rb"|\Z)", re.DOTALL
)


def read_json(file: Path, text: memoryview) -> pl.DataFrame:
    """Parse UTF-8 text; columns are the union of all keys, and NaN outside a string is null.

    InputError, with the line where there is one object a line: something else.
    """
    has_others = re.search(NO_JSON, text) is not None
    if has_others:
        text = memoryview(UP_TO_ONE.sub(lambda found: found[1] + STAND_INS.get(found[2], b""), bytes(text)))
    is_array = re.match(rb"\s*\[", text) is not None
    try:
        table = (pl.read_json if is_array else pl.read_ndjson)(BytesIO(text), infer_schema_length=None)
    except PARSER_ERRORS as error:
        reason = first_line(error) if is_array else _bad_line(text) or first_line(error)
        raise InputError(f"{file} cannot be read as a table of JSON objects: {reason}") from error
    return _with_infinite(table) if has_others else table


def _with_infinite(table: pl.DataFrame) -> pl.DataFrame:
    numbers = selectors.float()
    largest = pl.when(numbers.abs() == sys.float_info.max).then(numbers * 2).otherwise(numbers).name.keep()
    nested = [column for column in table if column.dtype.is_nested()]
    inside = [pl.Series(column.name, [_infinite(value) for value in column], column.dtype) for column in nested]
    return table.with_columns(largest, *inside)


def _infinite(value: Any) -> Any:
    """The value of a list or record with the stand-ins inside it infinite."""
    match value:
        case pl.Series() | list():
            return [_infinite(member) for member in value]
        case dict():
            return {name: _infinite(member) for name, member in value.items()}
        case float() if abs(value) == sys.float_info.max:
            return value * 2
        case _:
            return value


def _bad_line(text: memoryview) -> str | None:
    for number, line in enumerate(BytesIO(text), start=1):
        if line.strip():
            try:
                found = json.loads(line)
            except json.JSONDecodeError as error:
                return f"line {number}, column {error.colno}: {error.msg}"
            except (ValueError, RecursionError) as error:
                return f"line {number}: {error}"
            if not isinstance(found, dict):
                return f"line {number}: expected an object, found {type(found).__name__}"
    return None
