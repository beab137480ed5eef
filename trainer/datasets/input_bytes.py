"""The bytes of an input file: mapped into memory, or decompressed where they are gzip, zstd or bzip2."""

import mmap
import os
import re
from pathlib import Path

import pyarrow as pa

from index.errors import InputError

COMPRESSED = {"gzip": rb"\x1f\x8b", "zstd": rb"\x28\xb5\x2f\xfd", "bz2": rb"BZh[1-9]1AY&SY"}  # how such content begins
SUFFIXES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}
REFUSED = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV UTF-8",
    b"SQLite format 3\0": "an SQLite database; export the table as CSV",
    b"ARROW1\0\0": "an Arrow file; write it as Parquet",
}
BLOCK = 1 << 22  # bytes that are decompressed at once


def plain_name(file: Path) -> str:
    """The name in lower case, without the suffix of a compression."""
    name = file.name.lower()
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix in SUFFIXES else name


def read_content(file: Path) -> memoryview:
    """All bytes, decompressed; InputError where there is no file, an archive, or damaged compressed data."""
    if not file.is_file():
        raise InputError(f"no such file: {file}")
    try:
        content = _mapped(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    named = SUFFIXES.get(file.suffix.lower())
    found = next((name for name, start in COMPRESSED.items() if re.match(start, content)), None)
    if found is None and (kind := _refused_kind(content)):
        raise InputError(f"{file} is {kind}")
    if named not in (None, found):
        raise InputError(f"{file} is not {named}-compressed, as its name says")
    return content if found is None else _decompressed(file, content, found)


def line_at(content: memoryview, offset: int) -> int:
    """The number of the line that a byte is in, from 1 on."""
    before = bytes(content[:offset])
    return 1 + (before.count(b"\n") or before.count(b"\r"))


def _mapped(file: Path) -> memoryview:
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size == 0:  # cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


def _refused_kind(content: memoryview) -> str | None:
    start = bytes(content[:16])
    return next((kind for magic, kind in REFUSED.items() if start.startswith(magic)), None)


def _decompressed(file: Path, content: memoryview, compression: str) -> memoryview:
    whole = bytearray()
    try:
        with pa.CompressedInputStream(pa.BufferReader(content), compression) as stream:
            while block := stream.read(BLOCK):
                whole += block
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file} is damaged or cut short: {error}") from error
    return memoryview(whole)
