"""The log of a live index: changes are appended and synced before they are acknowledged, and read back at opening.

A record is a marker, the lengths of its two parts, a CRC-32 of both, a JSON text, and vectors as little-endian float32.
It names its rows, so that the records behind a damaged one still mean what they meant.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from index.errors import InputError
from index.frozen_model import FrozenModel
from index.ranking import Array
from index.reading import open_file
from index.storage import sync

_MARKER = b"\x89delta\r\n"  # no JSON has its first byte
_LENGTHS = struct.Struct("<QQI")  # bytes of JSON, bytes of vectors, CRC-32
_NUMBER = np.dtype("<f4")


class _Header(FrozenModel):
    """The JSON part of a record."""

    ids: tuple[str, ...]
    rows: tuple[int, ...] = Field(description="The row of each id; its vector follows.")
    removed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Change:
    """Items put into rows, new rows or those they had, and rows removed; applied as a whole."""

    ids: tuple[str, ...]  # p
    rows: tuple[int, ...]  # p
    vectors: Array  # (p, d) float32
    removed: tuple[int, ...] = ()


class LogContent(NamedTuple):
    """The whole changes of a log, oldest first, where the last of them ends, and how many bytes belong to none."""

    changes: list[Change]
    end: int
    unreadable: int


def read_log(path: Path, size: int) -> LogContent:
    """Read a log of vectors (size,). Records that are cut short or damaged are skipped."""
    with open_file(path) as file:
        data = file.read()
    changes, whole, end = [], 0, 0
    for change, start, after in _records(data, size):
        changes.append(change)
        whole, end = whole + after - start, after
    return LogContent(changes, end, len(data) - whole)


class LogWriter:
    """Appends changes to a log file, durably."""

    def __init__(self, path: Path, end: int = 0) -> None:
        """Append to the file from byte `end` on; what follows is cut off. OSError where it cannot be written."""
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0)
        self._end = end
        self._file.truncate(end)
        os.fsync(self._file.fileno())
        sync(path.parent)

    def append(self, change: Change) -> None:
        """Write the change; durable on return. OSError where it is not, and then the log is as it was before."""
        record = _record(change)
        try:
            self._write(record)
        except OSError:
            self._file.truncate(self._end)
            raise
        self._end += len(record)

    def close(self) -> None:
        self._file.close()

    def _write(self, record: bytes) -> None:
        written = 0
        while written < len(record):
            written += os.pwrite(self._file.fileno(), memoryview(record)[written:], self._end + written)
        os.fsync(self._file.fileno())


def _record(change: Change) -> bytes:
    header = _Header(ids=change.ids, rows=change.rows, removed=change.removed).model_dump_json().encode()
    vectors = np.ascontiguousarray(change.vectors, _NUMBER).tobytes()
    sum_ = zlib.crc32(vectors, zlib.crc32(header))
    return _MARKER + _LENGTHS.pack(len(header), len(vectors), sum_) + header + vectors


def _records(data: bytes, size: int) -> Iterator[tuple[Change, int, int]]:
    """Each whole change with the place of its first byte and of the byte after its last."""
    start = data.find(_MARKER)
    while start >= 0:
        found = _parsed(data, start + len(_MARKER), size)
        if found is not None:
            yield found[0], start, found[1]
        start = data.find(_MARKER, start + 1 if found is None else found[1])


def _parsed(data: bytes, start: int, size: int) -> tuple[Change, int] | None:
    """The change whose lengths begin at `start`, and where it ends; None where it is not whole."""
    after_lengths = start + _LENGTHS.size
    if after_lengths > len(data):
        return None
    header_bytes, vector_bytes, sum_ = _LENGTHS.unpack_from(data, start)
    end = after_lengths + header_bytes + vector_bytes
    if end > len(data) or zlib.crc32(memoryview(data)[after_lengths:end]) != sum_:
        return None
    try:
        header = _Header.model_validate_json(data[after_lengths : after_lengths + header_bytes])
    except ValidationError as error:
        raise InputError(f"a record of a delta's log is of another format: {error.errors()[0]['msg']}") from error
    vectors = np.frombuffer(data, _NUMBER, vector_bytes // _NUMBER.itemsize, after_lengths + header_bytes)
    if vectors.size != len(header.rows) * size:
        raise InputError(f"a record of a delta's log has {vectors.size} numbers; expected {len(header.rows)} x {size}")
    return Change(header.ids, header.rows, vectors.reshape(-1, size).astype(np.float32), header.removed), end
