"""Reads vectors, ids and tables from files: .npy, text, CSV, JSON Lines, Parquet."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from index.errors import InputError

Array = np.ndarray[Any, Any]
Columns = dict[str, list[Any]]

ROWS_AT_ONCE = 65_536
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?", re.ASCII)  # no leading zeros: those are codes


def read_vectors(path: Path) -> Array:
    """The array of a .npy file, mapped."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: {_reason(error)}; expected an array written by numpy.save") from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path} is an archive; expected one array, written by numpy.save")
    return found


def read_ids(path: Path, column: str) -> list[Any]:
    """The ids of a file: one a line in .txt, an array in .npy, else the named column of a table."""
    if path.suffix == ".npy":
        return list(read_vectors(path).tolist())
    if path.suffix == ".txt":
        return _text(path).removesuffix("\n").split("\n")
    return [value for block in table_blocks(path) for value in _column(path, block, column)]


def table_blocks(path: Path) -> Iterator[Columns]:
    """Some thousand rows of a table at a time, by column."""
    read = _READERS.get(path.suffix)
    if read is None:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'}; expected {', '.join(_READERS)}")
    try:
        yield from read(path)
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {_reason(error)}") from error


def table_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a whole table. In a CSV file a column of numbers holds numbers, and an empty value is missing."""
    blocks = list(table_blocks(path))
    numbers = _number_columns(blocks) if path.suffix == ".csv" else frozenset()
    for block in blocks:
        for row in zip(*block.values(), strict=True):
            named = dict(zip(block, row, strict=True))
            yield {name: _typed(value) if name in numbers else value for name, value in named.items() if value != ""}


def _typed(value: str) -> float:
    return float(value) if "." in value else int(value)


def _number_columns(blocks: Sequence[Columns]) -> frozenset[str]:
    names = blocks[0] if blocks else ()
    values = {name: [value for block in blocks for value in block[name] if value != ""] for name in names}
    return frozenset(
        name
        for name, found in values.items()
        if name not in ("item_id", "title", "category", "image") and found and all(map(_NUMBER.fullmatch, found))
    )


def _csv_blocks(path: Path) -> Iterator[Columns]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        rows: list[list[str]] = []
        for row in reader:
            if len(row) != len(names):
                if not row:
                    continue
                raise InputError(f"{path}, line {reader.line_num} has {len(row)} values; expected {len(names)}")
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                yield _by_column(names, rows)
                rows = []
        yield _by_column(names, rows)


def _json_blocks(path: Path) -> Iterator[Columns]:
    rows: list[Mapping[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number} is a {type(row).__name__}; expected a JSON object a line")
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                yield _of_objects(rows)
                rows = []
    if rows:
        yield _of_objects(rows)


def _parquet_blocks(path: Path) -> Iterator[Columns]:
    try:
        from pyarrow import parquet  # noqa: PLC0415 - comes with an extra
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow: pip install pyarrow, or give the table as .csv or .jsonl") from error
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            yield batch.to_pydict()


_READERS: Mapping[str, Callable[[Path], Iterator[Columns]]] = {
    ".csv": _csv_blocks,
    ".jsonl": _json_blocks,
    ".parquet": _parquet_blocks,
}


def _by_column(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Columns:
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def _of_objects(rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _column(path: Path, block: Columns, name: str) -> list[Any]:
    if name in block:
        return block[name]
    if len(block) == 1:
        return next(iter(block.values()))
    raise InputError(f"{path} has the columns {', '.join(block):.200}; expected {name} among them")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise InputError(f"{path}: {_reason(error)}; expected UTF-8") from error


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
