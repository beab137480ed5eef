"""The folder of bundles and the one pointer that says which of them serves.

`current.json` = {"bundle": id, "history": [ids that served before, oldest first]}. It is replaced in one step, after
all else is durable, so at every moment it names a whole bundle. Changes are made under a lock, from any process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from pydantic import BaseModel, ConfigDict, ValidationError

from index.bundle import BundleError, open_bundle
from index.errors import InputError
from index.manifest import BUNDLE_ID, MANIFEST
from index.storage import TEMPORARY_PREFIX, locked, remove_leftovers, replace_file, sync

POINTER = "current.json"
LOCK = ".lock"


class _Pointer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle: str
    history: list[str] = []


class Registry:
    """Bundles below one folder. Nothing is held in memory: another process's publish is seen at the next call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ids(self) -> list[str]:
        """The ids of all bundles, newest first."""
        found = (path.parent.name for path in self.folder.glob(f"*/{MANIFEST}"))
        return sorted((name for name in found if BUNDLE_ID.fullmatch(name)), reverse=True)

    def path(self, bundle_id: str) -> Path:
        """The bundle's folder; InputError where there is none of that id."""
        # The pattern first: an id may come from outside, and must not become a path such as "..".
        if not BUNDLE_ID.fullmatch(bundle_id) or not (self.folder / bundle_id / MANIFEST).is_file():
            raise InputError(f"{self.folder} has no bundle {bundle_id[:120]!r}; expected {self._expected()}")
        return self.folder / bundle_id

    def current_id(self) -> str | None:
        """The id of the bundle that serves, None before the first publish."""
        pointer = self._pointer()
        return None if pointer is None else pointer.bundle

    def current(self) -> Path:
        """The folder of the bundle that serves; InputError where none is published."""
        bundle_id = self.current_id()
        if bundle_id is None:
            raise InputError(f"{self.folder} has no published bundle; publish {self._expected()}")
        return self.path(bundle_id)

    def history(self) -> list[str]:
        """The ids that served before the current one, oldest first; the last is where a rollback goes."""
        pointer = self._pointer()
        return [] if pointer is None else pointer.history

    def publish(self, bundle_id: str) -> None:
        """Let the bundle serve. The gate is the caller's to ask; a bundle that cannot be opened is refused here."""
        with self._changing():
            _check_is(self.path(bundle_id), bundle_id)
            pointer = self._pointer()
            if pointer is None:
                self._point(_Pointer(bundle=bundle_id))
            elif pointer.bundle != bundle_id:
                self._point(_Pointer(bundle=bundle_id, history=[*pointer.history, pointer.bundle]))

    def rollback(self) -> str:
        """Let the bundle serve that served before; returns its id. InputError where there is none."""
        with self._changing():
            there = set(self.ids())
            history = [bundle_id for bundle_id in self.history() if bundle_id in there]
            if not history:
                raise InputError(f"{self.folder} has no earlier bundle to go back to; serving: {self.current_id()}")
            *earlier, bundle_id = history
            _check_is(self.path(bundle_id), bundle_id)
            self._point(_Pointer(bundle=bundle_id, history=earlier))
        return bundle_id

    def prune(self, keep: int) -> list[str]:
        """Remove all but the `keep` newest bundles, what serves and what a rollback goes to; returns what went.

        What killed writers left goes too. A process that has a removed bundle open keeps its memory maps.
        """
        if keep < 0:
            raise InputError(f"keep is {keep}; expected 0 or more")
        with self._changing():
            remove_leftovers(self.folder)
            kept = {*self.ids()[:keep], *self.history()[-1:], self.current_id()}
            removed = [bundle_id for bundle_id in self.ids() if bundle_id not in kept]
            self._forget(set(removed))
            for bundle_id in removed:
                self._remove(bundle_id)
        return removed

    def _forget(self, removed: set[str]) -> None:
        """Take ids out of the history before their bundles go, so that no crash leaves it naming what is gone."""
        pointer = self._pointer()
        if pointer is not None and removed.intersection(pointer.history):
            history = [bundle_id for bundle_id in pointer.history if bundle_id not in removed]
            self._point(_Pointer(bundle=pointer.bundle, history=history))

    def _remove(self, bundle_id: str) -> None:
        # Renamed first: a half-removed bundle must not carry a bundle's name.
        doomed = self.folder / f"{TEMPORARY_PREFIX}removed-{bundle_id}"
        (self.folder / bundle_id).rename(doomed)
        sync(self.folder)
        rmtree(doomed)

    def _pointer(self) -> _Pointer | None:
        path = self.folder / POINTER
        try:
            return _Pointer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InputError(
                f'{path} is damaged ({error.errors()[0]["msg"]}); expected {{"bundle": id, "history": [...]}}'
            ) from error

    def _point(self, pointer: _Pointer) -> None:
        replace_file(self.folder / POINTER, pointer.model_dump_json().encode())

    @contextmanager
    def _changing(self) -> Iterator[None]:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; expected a registry with bundles in it")
        lock = self.folder / LOCK
        try:
            lock.touch()
            with locked(lock):
                yield
        except OSError as error:  # a full or read-only disk: the pointer is as it was
            raise InputError(f"cannot change {self.folder}: {error.strerror or error}") from error

    def _expected(self) -> str:
        ids = self.ids()
        return f"one of {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}" if ids else "bundles in it, it has none"


def _check_is(path: Path, bundle_id: str) -> None:
    found = open_bundle(path, verify=False).bundle_id
    if found != bundle_id:
        raise BundleError(f"{path} holds bundle {found}; expected {bundle_id}: the folder was renamed")
