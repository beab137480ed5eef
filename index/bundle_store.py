"""Where a registry's bundles and its few small files lie: here a folder, in index/bucket.py a bucket."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

from index.errors import InputError
from index.manifest import BUNDLE_ID, MANIFEST, Manifest, read_manifest
from index.storage import TEMPORARY_PREFIX, locked, remove_leftovers, replace_file, sync

LOCK = ".lock"


class AwayError(InputError):
    """The place does not answer, or not as it should. The message names it and says what it answered."""


class ChangedError(Exception):
    """A file was replaced by somebody else since it was read: begin again from what it is now."""


@dataclass(frozen=True)
class Sheet:
    """A small file as it was read; `version` tells the shelf which state of it that was."""

    data: bytes
    version: Any = None


class Shelf(Protocol):
    """Whole bundles, which never change, and small files, each replaced in one step.

    OSError or InputError where the place cannot be reached, read or written. Bundle ids are checked by the caller.
    """

    folder: Path
    """On this machine: where bundles are opened from, and where new ones are written for `take_in`."""
    is_remote: bool
    """Whether it lies elsewhere, so that the folder has copies."""

    def ids(self) -> list[str]:
        """The ids of all whole bundles, in any order."""
        ...

    def holds(self, bundle_id: str) -> bool:
        """Whether there is a whole bundle of that id."""
        ...

    def location(self, bundle_id: str) -> str:
        """How people and programs name it."""
        ...

    def manifest(self, bundle_id: str) -> Manifest:
        """Its manifest alone; BundleError where it cannot be read."""
        ...

    def size(self, bundle_id: str) -> int:
        """Bytes of all its files."""
        ...

    def fetch(self, bundle_id: str) -> Path:
        """Its folder on this machine; there is none where the shelf has no such bundle."""
        ...

    def take_in(self, path: Path) -> str:
        """Keep a bundle that was written into `folder`; returns its location. Done when it is durable."""
        ...

    def discard(self, bundle_id: str) -> None:
        """Remove a bundle; from the first moment on it is no longer listed."""
        ...

    def remove_leftovers(self) -> None:
        """Remove what writers that died left behind."""
        ...

    def using(self, bundle_id: str) -> AbstractContextManager[None]:
        """Until it ends, a copy of the bundle is not forgotten."""
        ...

    def forget_copies(self, kept: set[str]) -> None:
        """Remove what `fetch` brought to this machine, but for these bundles and those in use."""
        ...

    def read(self, name: str) -> Sheet | None:
        """A small file; None where there is none."""
        ...

    def replace(self, name: str, data: bytes, before: Sheet | None) -> None:
        """Put a small file in the place of what was read; ChangedError where that is no longer what is there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a small file, if it is there."""
        ...

    def changing(self) -> AbstractContextManager[None]:
        """Held while files are read and replaced: keeps others out where the place can, InputError where it is none."""
        ...


class FolderShelf:
    """A folder, on a disk that all who use it share. Who changes it holds its lock, so nothing changes in between."""

    is_remote = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def ids(self) -> list[str]:
        """See Shelf."""
        return [path.parent.name for path in self.folder.glob(f"*/{MANIFEST}") if BUNDLE_ID.fullmatch(path.parent.name)]

    def holds(self, bundle_id: str) -> bool:
        """See Shelf."""
        return (self.folder / bundle_id / MANIFEST).is_file()

    def location(self, bundle_id: str) -> str:
        """See Shelf."""
        return str(self.folder / bundle_id)

    def manifest(self, bundle_id: str) -> Manifest:
        """See Shelf."""
        return read_manifest(self.folder / bundle_id)

    def size(self, bundle_id: str) -> int:
        """See Shelf."""
        return sum((self.folder / bundle_id / name).stat().st_size for name in self.manifest(bundle_id).files)

    def fetch(self, bundle_id: str) -> Path:
        """See Shelf: it is here."""
        return self.folder / bundle_id

    def take_in(self, path: Path) -> str:
        """See Shelf: it is where it should be."""
        return str(path)

    def discard(self, bundle_id: str) -> None:
        """See Shelf."""
        # Renamed first: a half-removed bundle must not carry a bundle's name.
        doomed = self.folder / f"{TEMPORARY_PREFIX}removed-{bundle_id}"
        (self.folder / bundle_id).rename(doomed)
        sync(self.folder)
        rmtree(doomed)

    def remove_leftovers(self) -> None:
        """See Shelf."""
        remove_leftovers(self.folder)

    def using(self, bundle_id: str) -> AbstractContextManager[None]:
        """See Shelf: there are no copies."""
        return nullcontext()

    def forget_copies(self, kept: set[str]) -> None:
        """See Shelf: there are none."""

    def read(self, name: str) -> Sheet | None:
        """See Shelf."""
        try:
            return Sheet((self.folder / name).read_bytes())
        except FileNotFoundError:
            return None

    def replace(self, name: str, data: bytes, before: Sheet | None) -> None:
        """See Shelf; the lock saw to it that nothing changed."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        replace_file(path, data)

    def remove(self, name: str) -> None:
        """See Shelf."""
        (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """See Shelf."""
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; expected a registry with bundles in it")
        lock = self.folder / LOCK
        lock.touch()
        with locked(lock):
            yield
