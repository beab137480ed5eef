"""The folder of bundles and the one pointer that says which of them serves.

`current.json` = {"bundle": id, "history": [ids that served before, oldest first]}. It is replaced in one step, after
all else is durable, so at every moment it names a whole bundle. Changes are made under a lock, from any process.
What is known of a bundle beside it (the gate's report, who published it) stands in records/ (index/records.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from index.bundle import BundleError, open_bundle
from index.errors import InputError
from index.manifest import BUNDLE_ID, MANIFEST
from index.records import Gated, Move, Record, read_record, remove_record, write_record
from index.storage import TEMPORARY_PREFIX, locked, remove_leftovers, replace_file, sync

POINTER = "current.json"
LOCK = ".lock"
MOST_HISTORY = 50  # ids that are remembered; nobody goes further back


class Pointer(BaseModel):
    """Which bundle serves, and which served before, oldest first: a rollback goes to the last of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle: str
    history: list[str] = []

    def precedes(self, other: "Pointer") -> bool:
        """Whether rollbacks lead from the other to this one."""
        return len(self.history) < len(other.history) and self.history == other.history[: len(self.history)]


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
        if not self.holds(bundle_id):
            raise InputError(f"{self.folder} has no bundle {bundle_id[:120]!r}; expected {self._expected()}")
        return self.folder / bundle_id

    def holds(self, bundle_id: str) -> bool:
        """Whether there is a bundle of that id."""
        # The pattern first: an id may come from outside, and must not become a path such as "..".
        return BUNDLE_ID.fullmatch(bundle_id) is not None and (self.folder / bundle_id / MANIFEST).is_file()

    def pointer(self) -> Pointer | None:
        """The pointer as it is now, None before the first publish; InputError where it is damaged."""
        path = self.folder / POINTER
        try:
            return Pointer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InputError(
                f'{path} is damaged ({error.errors()[0]["msg"]}); expected {{"bundle": id, "history": [...]}}'
            ) from error

    def current_id(self) -> str | None:
        """The id of the bundle that serves, None before the first publish."""
        pointer = self.pointer()
        return None if pointer is None else pointer.bundle

    def current(self) -> Path:
        """The folder of the bundle that serves; InputError where none is published."""
        bundle_id = self.current_id()
        if bundle_id is None:
            raise InputError(f"{self.folder} has no published bundle; publish {self._expected()}")
        return self.path(bundle_id)

    def history(self) -> list[str]:
        """The ids that served before the current one, oldest first; the last is where a rollback goes."""
        pointer = self.pointer()
        return [] if pointer is None else pointer.history

    def record(self, bundle_id: str) -> Record:
        """What is known of a bundle beside what is in it."""
        return read_record(self.folder, bundle_id)

    def keep_report(self, bundle_id: str, gated: Gated) -> None:
        """Keep the gate's report; it takes the place of the one before."""
        with self._changing():
            self._note(bundle_id, gate=gated)

    def publish(self, bundle_id: str, move: Move | None = None) -> None:
        """Let the bundle serve, and take a withdrawal back. The gate is the caller's to ask; a bundle that cannot be
        opened is refused here.
        """
        with self._changing():
            _check_is(self.path(bundle_id), bundle_id)
            pointer = self.pointer()
            if move is not None or self.record(bundle_id).withdrawn is not None:
                self._note(bundle_id, published=move, withdrawn=None)
            if pointer is None:
                self._point(Pointer(bundle=bundle_id))
            elif pointer.bundle != bundle_id:
                self._point(Pointer(bundle=bundle_id, history=[*pointer.history, pointer.bundle][-MOST_HISTORY:]))

    def rollback(self, move: Move | None = None, *, leaving: str | None = None) -> str:
        """Let the bundle serve that served before; returns the id that serves now. InputError where there is none.

        Nothing is done where another bundle than `leaving` serves: two who want to leave it go back one step.
        """
        with self._changing():
            current = self.current_id()
            if current is not None and leaving not in (None, current):
                return current
            target = self._target()
            if move is not None:
                self._note(target.bundle, published=move)
            self._check_and_point(target)
        return target.bundle

    def withdraw(self, bundle_id: str, move: Move) -> str | None:
        """Roll back if this bundle serves, and mark it, so that nobody takes it up until it is published again.

        Returns the id that serves now; None, and nothing is changed, where another serves already: of several
        replicas that find the same fault one acts.
        """
        with self._changing():
            if self.current_id() != bundle_id:
                return None
            target = self._target()
            self._note(bundle_id, withdrawn=move)  # first: killed in between, it is at worst marked and serving
            self._check_and_point(target)
        return target.bundle

    def earlier(self) -> list[str]:
        """The bundles that a rollback could go to, oldest first: those that are there and were not withdrawn."""
        there = set(self.ids())
        return [one for one in self.history() if one in there and self.record(one).withdrawn is None]

    def _target(self) -> Pointer:
        history = self.earlier()
        if not history:
            raise InputError(f"{self.folder} has no earlier bundle to go back to; serving: {self.current_id()}")
        return Pointer(bundle=history[-1], history=history[:-1])

    def _check_and_point(self, target: Pointer) -> None:
        _check_is(self.path(target.bundle), target.bundle)
        self._point(target)

    def _note(self, bundle_id: str, **changes: Any) -> None:
        write_record(self.folder, bundle_id, self.record(bundle_id).model_copy(update=changes))

    def prune(self, keep: int) -> list[str]:
        """Remove all but the `keep` newest bundles, what serves and what a rollback goes to; returns what went.

        What killed writers left goes too. A process that has a removed bundle open keeps its memory maps.
        """
        if keep < 0:
            raise InputError(f"keep is {keep}; expected 0 or more")
        with self._changing():
            remove_leftovers(self.folder)
            kept = {*self.ids()[:keep], *self.earlier()[-1:], self.current_id()}
            removed = [bundle_id for bundle_id in self.ids() if bundle_id not in kept]
            self._forget(set(removed))
            for bundle_id in removed:
                self._remove(bundle_id)
        return removed

    def _forget(self, removed: set[str]) -> None:
        """Take ids out of the history before their bundles go, so that no crash leaves it naming what is gone."""
        pointer = self.pointer()
        if pointer is not None and removed.intersection(pointer.history):
            history = [bundle_id for bundle_id in pointer.history if bundle_id not in removed]
            self._point(Pointer(bundle=pointer.bundle, history=history))

    def _remove(self, bundle_id: str) -> None:
        # Renamed first: a half-removed bundle must not carry a bundle's name.
        doomed = self.folder / f"{TEMPORARY_PREFIX}removed-{bundle_id}"
        (self.folder / bundle_id).rename(doomed)
        sync(self.folder)
        rmtree(doomed)
        remove_record(self.folder, bundle_id)

    def _point(self, pointer: Pointer) -> None:
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
