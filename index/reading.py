"""Turns files that may be damaged into values, or into an InputError of one sentence.

Only a regular file is opened: a pipe would block and a device would never end. What a header says is compared with the
file's size before memory is taken.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from index.errors import InputError
from index.validation import explained

MAX_DOCUMENT = 32 << 20  # bytes of a manifest, a pointer, a record: far more than any has
_REASON_CHARS = 200
_OTHER_KINDS = {errno.ENOTDIR, errno.ELOOP, errno.ENXIO}  # a path through a file, a loop of links, a socket

T = TypeVar("T")
Array = np.ndarray[Any, Any]


@contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """A regular file to read. OSError where it cannot be opened, InputError where it is anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else opening a pipe waits for its writer
    except OSError as error:
        if error.errno in _OTHER_KINDS:
            raise InputError(f"{path} is no regular file ({error.strerror})") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path} is a folder, a pipe or a device; expected a regular file")
    with os.fdopen(handle, "rb") as file:
        yield file


def read_file(path: Path, parse: Callable[[BufferedReader], T], hint: str) -> T:
    """What `parse` makes of a regular file; InputError whatever it raises, as parsers raise more than they document.

    `hint` ends the message: what was expected, or what to do.
    """
    try:
        with open_file(path) as file:
            return parse(file)
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a parser in Rust is no Exception
        raise InputError(f"{path} cannot be read ({reason(error)}); {hint}") from error


def read_json(path: Path, kind: TypeAdapter[T], hint: str) -> T:
    """The value of a JSON file; InputError where it is not of its kind."""
    return read_file(path, lambda file: kind.validate_json(file.read()), hint)


def reason(error: BaseException) -> str:
    """The error in a few words on one line."""
    if isinstance(error, ValidationError):
        return explained(error)
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text[: 2 * _REASON_CHARS].split())[:_REASON_CHARS]


def read_document(path: Path) -> bytes:
    """The bytes of a small file. OSError where it cannot be read, InputError where it is too large or no file."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_DOCUMENT:
            raise InputError(f"{path} has {size:,} bytes; expected at most {MAX_DOCUMENT:,}")
        return file.read()


def map_array(path: Path) -> Array:
    """As open_array, as a plain ndarray: each slice of a np.memmap pays for the subclass."""
    return open_array(path).view(np.ndarray)


def open_array(path: Path) -> Array:
    """Memory-map a .npy file read-only; InputError unless the file is as long as its header says."""
    return read_file(path, _mapped, "expected a whole .npy file")


def _mapped(file: BufferedReader) -> Array:
    dtype, shape = _header(file)
    start, size = file.tell(), os.fstat(file.fileno()).st_size
    if size != start + prod(shape) * dtype.itemsize:
        raise ValueError(f"it has {size:,} bytes, its header says {dtype} {shape}")
    if prod(shape):
        return np.memmap(file, dtype, "r", start, shape)
    nothing = np.empty(shape, dtype)  # no empty range can be mapped
    nothing.flags.writeable = False
    return nothing


def _header(file: BufferedReader) -> tuple[np.dtype[Any], tuple[int, ...]]:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it is of version {version}")
    shape, fortran_order, dtype = readers[version](file)
    if fortran_order or dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"it holds {dtype} {shape}{' in Fortran order' if fortran_order else ''}")
    return dtype, shape
