"""Storage of a registry's bundles and small files: the interface, and its implementation by a folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from index.errors import InputError
from index.manifest import BUNDLE_ID, MANIFEST, Manifest, read_manifest
from index.reading import read_document
from index.storage import TEMPORARY_PREFIX, locked, remove_leftovers, remove_tree, replace_file, sync, sync_tree

LOCK = ".lock"
ENCODERS, CARD = "encoders", "encoder.json"  # an encoder exists once its card does (index/encoders.py)


class StoreUnavailableError(InputError):
    """The store cannot be reached, or its response is an error. The message names the store and quotes the response."""


class WriteConflictError(Exception):
    """Another process replaced the file since it was read: read it again and repeat the change."""


@dataclass(frozen=True)
class StoredFile:
    """A small file as it was read; `version` identifies its state in the store (an ETag, for example)."""

    data: bytes
    version: Any = None


class BundleStore(Protocol):
    """Stores whole bundles, which never change, and small files, each replaced atomically.

    Methods raise OSError or InputError where the store cannot be reached, read or written. Callers check bundle ids.
    """

    folder: Path
    """Local folder: bundles are opened from it, and new ones are written into it for `add_bundle`."""
    is_remote: bool
    """Whether the store is on another machine, so that `folder` holds copies."""

    def ids(self) -> list[str]:
        """The ids of all whole bundles, in any order."""
        ...

    def holds(self, bundle_id: str) -> bool:
        """Whether the store has a whole bundle of that id."""
        ...

    def location(self, bundle_id: str) -> str:
        """The path or URL of the bundle."""
        ...

    def manifest(self, bundle_id: str) -> Manifest:
        """The bundle's manifest alone; BundleError where it cannot be read."""
        ...

    def size(self, bundle_id: str) -> int:
        """Bytes of all files of the bundle."""
        ...

    def fetch(self, bundle_id: str) -> Path:
        """The bundle's local folder, downloaded if need be; the folder is missing where the store lacks the bundle."""
        ...

    def add_bundle(self, path: Path) -> str:
        """Store a bundle that was written into `folder`; returns its location once it is durable."""
        ...

    def discard(self, bundle_id: str) -> None:
        """Remove a bundle; `ids` stops listing it before its first file is removed."""
        ...

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of writers that died."""
        ...

    def in_use(self, bundle_id: str) -> AbstractContextManager[None]:
        """While the context is open, `evict_copies` keeps the copy of this bundle."""
        ...

    def evict_copies(self, kept: set[str]) -> None:
        """Remove local copies, except those of the bundles in `kept` and of bundles in use."""
        ...

    def drop_copy(self, bundle_id: str) -> bool:
        """Remove the damaged local copy of a bundle or of `encoders/<digest>`; False where there are no copies."""
        ...

    def encoders(self) -> dict[str, datetime]:
        """When each whole encoder was exported last, by its digest."""
        ...

    def add_encoder(self, path: Path, digest: str) -> None:
        """Store an encoder that was written into a temporary folder of `folder`; nothing where it is there already."""
        ...

    def fetch_encoder(self, digest: str) -> Path | None:
        """The encoder's local folder, downloaded if need be; None where the store lacks it."""
        ...

    def discard_encoder(self, digest: str) -> None:
        """Remove an encoder; `encoders` stops listing it before its first file is removed."""
        ...

    def read(self, name: str) -> StoredFile | None:
        """A small file; None where it does not exist."""
        ...

    def replace(self, name: str, data: bytes, before: StoredFile | None) -> None:
        """Replace a small file; WriteConflictError where its state is no longer `before`."""
        ...

    def remove(self, name: str) -> None:
        """Remove a small file, if it exists."""
        ...

    def change_lock(self) -> AbstractContextManager[None]:
        """Held while files are read and replaced: excludes other writers where the store can.

        InputError where the store does not exist.
        """
        ...


class FolderStore:
    """A folder on a disk that all writers share. A writer holds its lock, so no other changes files meanwhile."""

    is_remote = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def ids(self) -> list[str]:
        found = (path.parent.name for path in self.folder.glob(f"*/{MANIFEST}") if path.is_file())
        return [name for name in found if BUNDLE_ID.fullmatch(name)]

    def holds(self, bundle_id: str) -> bool:
        return (self.folder / bundle_id / MANIFEST).is_file()

    def location(self, bundle_id: str) -> str:
        return str(self.folder / bundle_id)

    def manifest(self, bundle_id: str) -> Manifest:
        return read_manifest(self.folder / bundle_id)

    def size(self, bundle_id: str) -> int:
        return sum((self.folder / bundle_id / name).stat().st_size for name in self.manifest(bundle_id).files)

    def fetch(self, bundle_id: str) -> Path:
        return self.folder / bundle_id

    def add_bundle(self, path: Path) -> str:
        return str(path)  # it was written where it belongs

    def discard(self, bundle_id: str) -> None:
        self._discard(self.folder / bundle_id)

    def _discard(self, path: Path) -> None:
        # Renamed first: a half-removed bundle must not carry a bundle's name.
        doomed = self.folder / f"{TEMPORARY_PREFIX}removed-{path.name}"
        path.rename(doomed)
        sync(path.parent)
        remove_tree(doomed)

    def remove_leftovers(self) -> None:
        remove_leftovers(self.folder)

    def in_use(self, bundle_id: str) -> AbstractContextManager[None]:
        return nullcontext()

    def evict_copies(self, kept: set[str]) -> None:
        """Do nothing: a folder has no copies."""

    def drop_copy(self, bundle_id: str) -> bool:
        return False

    def encoders(self) -> dict[str, datetime]:
        cards = (self.folder / ENCODERS).glob(f"*/{CARD}")
        return {card.parent.name: datetime.fromtimestamp(card.stat().st_mtime, UTC) for card in cards}

    def add_encoder(self, path: Path, digest: str) -> None:
        sync_tree(path)
        target = self.folder / ENCODERS / digest
        target.parent.mkdir(exist_ok=True)
        try:
            path.rename(target)
        except OSError:
            if not (target / CARD).is_file():  # else another export was faster
                raise
        sync(target.parent)

    def fetch_encoder(self, digest: str) -> Path | None:
        path = self.folder / ENCODERS / digest
        return path if (path / CARD).is_file() else None

    def discard_encoder(self, digest: str) -> None:
        self._discard(self.folder / ENCODERS / digest)

    def read(self, name: str) -> StoredFile | None:
        try:
            return StoredFile(read_document(self.folder / name))
        except FileNotFoundError:
            return None

    def replace(self, name: str, data: bytes, before: StoredFile | None) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        replace_file(path, data)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def change_lock(self) -> Iterator[None]:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; expected a registry with bundles in it")
        lock = self.folder / LOCK
        lock.touch()
        with locked(lock):
            yield
