"""Reads JSON: one object a line, or one array of objects."""

import json
import re
from io import BytesIO
from pathlib import Path

import polars as pl

from index.errors import InputError
from trainer.parquet import PARSER_ERRORS, first_line

NOT_JSON = rb"(?:NaN|-?Infinity)\b"  # what Python and others write for numbers that JSON does not have
BARE_NUMBER = re.compile(
    rb'((?:[^"NI-]++|"(?:[^"\\]++|\\.)*+"|(?!' + NOT_JSON + rb")[NI-])*+)(" + NOT_JSON + rb"|\Z)", re.DOTALL
)


def read_json(file: Path, text: memoryview) -> pl.DataFrame:
    """Parse UTF-8 text; columns are the union of all keys, and NaN and Infinity outside strings are null.

    InputError, with the line where there is one object a line: something else.
    """
    if re.search(NOT_JSON, text):
        text = memoryview(BARE_NUMBER.sub(lambda found: found[1] + (b"null" if found[2] else b""), text))
    is_array = re.match(rb"\s*\[", text) is not None
    try:
        if is_array:
            return pl.read_json(BytesIO(text), infer_schema_length=None)
        return pl.read_ndjson(BytesIO(text), infer_schema_length=None)
    except PARSER_ERRORS as error:
        reason = first_line(error) if is_array else _bad_line(text) or first_line(error)
        raise InputError(f"{file} cannot be read as a table of JSON objects: {reason}") from error


def _bad_line(text: memoryview) -> str | None:
    for number, line in enumerate(BytesIO(text), start=1):
        if line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                return f"line {number}: {error}"
            if not isinstance(found, dict):
                return f"line {number}: expected an object, found {type(found).__name__}"
    return None
