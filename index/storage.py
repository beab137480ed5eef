"""Atomic and durable writes, temporary folders, locks, checksums, memory maps."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np

from index.errors import InputError
from index.reading import open_file

TEMPORARY_PREFIX = ".writing-"


def sync(path: Path) -> None:
    """fsync a file or folder; a rename is durable once its folder is synced."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """fsync all files and folders below; called once at the end, so that the disk can batch the writes."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def save_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a new .npy file, without pickle; durable once synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def replace_file(path: Path, data: bytes) -> None:
    """Replace the file atomically and durably: a reader sees the old bytes or the new ones."""
    with atomic_writer(path) as file:
        file.write(data)


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file to write; at the end of the context it is synced and atomically replaces `path`."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            yield file
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sha256_of(path: Path) -> str:
    """The hex sha256 of a regular file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_under(folder: Path) -> dict[str, Path]:
    """Every file below `folder`, by its path relative to it with forward slashes."""
    return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if not p.is_dir()}


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder to write into, removed at the end unless it was renamed.

    It is locked while its writer lives, so that `remove_leftovers` can distinguish a dead writer from a slow one.
    OSError (disk full, no permission) becomes an InputError.
    """
    folder = parent / f"{TEMPORARY_PREFIX}{uuid4().hex}"
    try:
        folder.mkdir(parents=True)
        with locked(folder):
            yield folder
    except OSError as error:
        raise InputError(f"cannot write into {parent}: {error.strerror or error}; nothing was left") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a file or folder; the kernel releases it however the process ends.

    With wait=False, BlockingIOError where another process holds the lock.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else a pipe in its place would block
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


def remove_leftovers(parent: Path) -> list[str]:
    """Remove the temporary files and folders of killed writers from `parent`; those of living writers stay."""
    return [path.name for path in sorted(parent.glob(f"{TEMPORARY_PREFIX}*")) if _removed(path)]


def remove_tree(path: Path) -> None:
    """Remove a folder and what is in it, or whatever has its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _removed(path: Path) -> bool:
    if path.is_symlink() or not (path.is_dir() or path.is_file()):  # a link, a pipe, a socket: no writer of ours
        remove_tree(path)
        return True
    try:
        with locked(path, wait=False):
            remove_tree(path)
    except (BlockingIOError, FileNotFoundError):
        return False
    return True
