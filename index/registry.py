"""All bundles of one place, a folder or a bucket, and the one pointer that says which of them serves.

`current.json` = {"bundle": id, "history": [ids that served before, oldest first]}. It is replaced in one step, after
all else is durable, so at every moment it names a whole bundle. Changes are made by one process at a time: by a lock
in a folder, in a bucket by giving up where another was quicker and beginning again (index/bundle_store.py,
index/bucket.py).
What is known of a bundle beside it (the gate's report, who published it) stands in records/ (index/records.py).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, ValidationError

from index import records
from index.bundle import BundleError, Manifest, open_bundle
from index.bundle_store import ChangedError, FolderShelf, Sheet, Shelf
from index.errors import InputError
from index.manifest import BUNDLE_ID
from index.records import Gated, Move, Record
from index.storage import replace_file

POINTER = "current.json"
MOST_HISTORY = 50  # ids that are remembered; nobody goes further back
MOST_ATTEMPTS = 20  # at a change that others are quicker with

T = TypeVar("T")


class Pointer(BaseModel):
    """Which bundle serves, and which served before, oldest first: a rollback goes to the last of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle: str
    history: list[str] = []

    def precedes(self, other: "Pointer") -> bool:
        """Whether rollbacks lead from the other to this one."""
        return len(self.history) < len(other.history) and self.history == other.history[: len(self.history)]


class Registry:
    """Nothing of it is held in memory: another process's publish is seen at the next call.

    InputError where the place cannot be changed; OSError where it cannot be reached or read.
    """

    def __init__(self, place: Shelf | Path) -> None:
        self._shelf: Shelf = FolderShelf(place) if isinstance(place, Path) else place

    def __str__(self) -> str:
        return str(self._shelf)

    @property
    def is_remote(self) -> bool:
        """Whether bundles are fetched to this machine before they are opened."""
        return self._shelf.is_remote

    @property
    def folder(self) -> Path:
        """On this machine: where new bundles are written for `take_in`, and where bundles are opened from."""
        return self._shelf.folder

    def ids(self) -> list[str]:
        """The ids of all bundles, newest first."""
        return sorted(self._shelf.ids(), reverse=True)

    def path(self, bundle_id: str) -> Path:
        """The bundle's folder on this machine, fetched if need be; InputError where there is none of that id."""
        return self._shelf.fetch(self._known(bundle_id))

    def fetched(self, bundle_id: str) -> Path:
        """The same of a bundle that may be gone: then no such folder exists."""
        return self._shelf.fetch(bundle_id) if self.holds(bundle_id) else self.folder / bundle_id

    def holds(self, bundle_id: str) -> bool:
        """Whether there is a bundle of that id."""
        # The pattern first: an id may come from outside, and must not become a path such as "..".
        return BUNDLE_ID.fullmatch(bundle_id) is not None and self._shelf.holds(bundle_id)

    def location(self, bundle_id: str) -> str:
        """How the command line names the bundle: its path, or its URL."""
        return self._shelf.location(bundle_id)

    def manifest(self, bundle_id: str) -> Manifest:
        """Its manifest, without its other files; BundleError where it cannot be read."""
        return self._shelf.manifest(self._known(bundle_id))

    def size(self, bundle_id: str) -> int:
        """Bytes of all its files."""
        return self._shelf.size(self._known(bundle_id))

    def take_in(self, path: Path) -> str:
        """Keep a bundle that was written into `folder`; returns its location once it is durable there."""
        try:
            return self._shelf.take_in(path)
        except OSError as error:
            raise InputError(f"cannot write into {self}: {error.strerror or error}") from error

    def using(self, bundle_id: str) -> AbstractContextManager[None]:
        """Until it ends, what was fetched of the bundle stays on this machine."""
        return self._shelf.using(bundle_id)

    def forget_copies(self, *kept: str | None) -> None:
        """Remove what was fetched to this machine, but for these bundles and those in use; a folder has no copies."""
        self._shelf.forget_copies({bundle_id for bundle_id in kept if bundle_id})

    def remember(self, pointer: Pointer) -> None:
        """Keep beside the copies what serves on this machine, for a start while the place is away."""
        if self.is_remote:
            replace_file(self.folder / POINTER, pointer.model_dump_json().encode())

    def remembered(self) -> "Registry":
        """The copies of this machine as a registry of their own, whose pointer is what was last remembered."""
        return Registry(self.folder)

    def pointer(self) -> Pointer | None:
        """The pointer as it is now, None before the first publish; InputError where it is damaged."""
        return self._parsed(self._shelf.read(POINTER))

    def _parsed(self, sheet: Sheet | None) -> Pointer | None:
        try:
            return None if sheet is None else Pointer.model_validate_json(sheet.data)
        except ValidationError as error:
            raise InputError(
                f'{self}/{POINTER} is damaged ({error.errors()[0]["msg"]}); expected {{"bundle": id, "history": [...]}}'
            ) from error

    def current_id(self) -> str | None:
        """The id of the bundle that serves, None before the first publish."""
        pointer = self.pointer()
        return None if pointer is None else pointer.bundle

    def current(self) -> Path:
        """The folder of the bundle that serves; InputError where none is published."""
        bundle_id = self.current_id()
        if bundle_id is None:
            raise InputError(f"{self} has no published bundle; publish {self._expected()}")
        return self.path(bundle_id)

    def history(self) -> list[str]:
        """The ids that served before the current one, oldest first; the last is where a rollback goes."""
        pointer = self.pointer()
        return [] if pointer is None else pointer.history

    def record(self, bundle_id: str) -> Record:
        """What is known of a bundle beside what is in it."""
        return self._noted(bundle_id)[0]

    def keep_report(self, bundle_id: str, gated: Gated) -> None:
        """Keep the gate's report; it takes the place of the one before."""
        self._change(lambda _: self._note(bundle_id, gate=gated))

    def publish(self, bundle_id: str, move: Move | None = None) -> None:
        """Let the bundle serve, and take a withdrawal back. The gate is the caller's to ask; a bundle that cannot be
        opened is refused here.
        """
        self._check(bundle_id)  # before the change, since it may have to be fetched
        self._change(partial(self._publish, bundle_id, move))

    def _publish(self, bundle_id: str, move: Move | None, found: Sheet | None) -> None:
        self._check(bundle_id)
        pointer = self._parsed(found)
        if move is not None or self.record(bundle_id).withdrawn is not None:
            self._note(bundle_id, published=move, withdrawn=None)
        if pointer is None:
            self._point(Pointer(bundle=bundle_id), found)
        elif pointer.bundle != bundle_id:
            history = [*pointer.history, pointer.bundle][-MOST_HISTORY:]
            self._point(Pointer(bundle=bundle_id, history=history), found)

    def rollback(self, move: Move | None = None, *, leaving: str | None = None) -> str:
        """Let the bundle serve that served before; returns the id that serves now. InputError where there is none.

        Nothing is done where another bundle than `leaving` serves: two who want to leave it go back one step.
        """
        return self._change(partial(self._rollback, move, leaving))

    def _rollback(self, move: Move | None, leaving: str | None, found: Sheet | None) -> str:
        pointer = self._parsed(found)
        if pointer is not None and leaving not in (None, pointer.bundle):
            return pointer.bundle
        target = self._target(pointer)
        self._check(target.bundle)
        if move is not None:
            self._note(target.bundle, published=move)
        self._point(target, found)
        return target.bundle

    def withdraw(self, bundle_id: str, move: Move) -> str | None:
        """Roll back if this bundle serves, and mark it, so that nobody takes it up until it is published again.

        Returns the id that serves now; None, and nothing is changed, where another serves already: of several
        replicas that find the same fault one acts.
        """
        return self._change(partial(self._withdraw, bundle_id, move))

    def _withdraw(self, bundle_id: str, move: Move, found: Sheet | None) -> str | None:
        pointer = self._parsed(found)
        if pointer is None or pointer.bundle != bundle_id:
            return None
        target = self._target(pointer)
        self._check(target.bundle)
        record, sheet = self._noted(bundle_id)
        self._point(target, found)
        with suppress(ChangedError):  # somebody has published it again by now: so be it
            self._write(bundle_id, record.model_copy(update={"withdrawn": move}), sheet)
        return target.bundle

    def earlier(self) -> list[str]:
        """The bundles that a rollback could go to, oldest first: those that are there and were not withdrawn."""
        return self._earlier(self.pointer())

    def _earlier(self, pointer: Pointer | None) -> list[str]:
        there = set(self.ids())
        history = [] if pointer is None else pointer.history
        return [one for one in history if one in there and self.record(one).withdrawn is None]

    def _target(self, pointer: Pointer | None) -> Pointer:
        history = self._earlier(pointer)
        if not history:
            serving = None if pointer is None else pointer.bundle
            raise InputError(f"{self} has no earlier bundle to go back to; serving: {serving}")
        return Pointer(bundle=history[-1], history=history[:-1])

    def prune(self, keep: int) -> list[str]:
        """Remove all but the `keep` newest bundles, what serves and what a rollback goes to; returns what went.

        What killed writers left goes too. A process that has a removed bundle open keeps its memory maps.
        """
        if keep < 0:
            raise InputError(f"keep is {keep}; expected 0 or more")
        return self._change(partial(self._prune, keep))

    def _prune(self, keep: int, found: Sheet | None) -> list[str]:
        self._shelf.remove_leftovers()
        pointer = self._parsed(found)
        kept = {*self.ids()[:keep], *self._earlier(pointer)[-1:], None if pointer is None else pointer.bundle}
        removed = [bundle_id for bundle_id in self.ids() if bundle_id not in kept]
        self._forget(set(removed), pointer, found)
        for bundle_id in removed:
            self._shelf.discard(bundle_id)
            self._shelf.remove(records.name_of(bundle_id))
        return removed

    def _forget(self, removed: set[str], pointer: Pointer | None, found: Sheet | None) -> None:
        """Take ids out of the history before their bundles go, so that no crash leaves it naming what is gone."""
        if pointer is not None and removed.intersection(pointer.history):
            history = [bundle_id for bundle_id in pointer.history if bundle_id not in removed]
            self._point(Pointer(bundle=pointer.bundle, history=history), found)

    def _change(self, change: Callable[[Sheet | None], T]) -> T:
        """Do it to the pointer as it is now, and do it again where it was another's meanwhile."""
        for _ in range(MOST_ATTEMPTS):
            try:
                with suppress(ChangedError), self._shelf.changing():
                    return change(self._shelf.read(POINTER))
            except OSError as error:  # a full or read-only disk, a network that is away
                raise InputError(f"cannot change {self}: {error.strerror or error}") from error
        raise InputError(f"cannot change {self}: others did, {MOST_ATTEMPTS} times in a row; try again")

    def _point(self, pointer: Pointer, found: Sheet | None) -> None:
        self._shelf.replace(POINTER, pointer.model_dump_json().encode(), found)

    def _noted(self, bundle_id: str) -> tuple[Record, Sheet | None]:
        sheet = self._shelf.read(records.name_of(bundle_id))
        return (Record() if sheet is None else records.parsed(sheet.data)), sheet

    def _note(self, bundle_id: str, **changes: Any) -> None:
        record, sheet = self._noted(bundle_id)
        self._write(bundle_id, record.model_copy(update=changes), sheet)

    def _write(self, bundle_id: str, record: Record, before: Sheet | None) -> None:
        self._shelf.replace(records.name_of(bundle_id), record.model_dump_json(indent=2).encode(), before)

    def _check(self, bundle_id: str) -> None:
        path = self.path(bundle_id)
        found = open_bundle(path, verify=False).bundle_id
        if found != bundle_id:
            raise BundleError(f"{path} holds bundle {found}; expected {bundle_id}: the folder was renamed")

    def _known(self, bundle_id: str) -> str:
        if not self.holds(bundle_id):
            raise InputError(f"{self} has no bundle {bundle_id[:120]!r}; expected {self._expected()}")
        return bundle_id

    def _expected(self) -> str:
        ids = self.ids()
        return f"one of {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}" if ids else "bundles in it, it has none"


def open_registry(place: str, copies: Path, *, progress: bool = False) -> Registry:
    """The registry at a path or a URL; nothing is asked of it yet.

    Args:
        place: a folder's path, `file:///path`, or a bucket's URL such as `s3://bucket/bundles`.
        copies: folder of this machine for what is fetched out of buckets.
        progress: show on a terminal how transfers go.

    Raises:
        InputError: the URL cannot be understood, or the library for buckets is not installed.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return Registry(Path(place))
    if scheme == "file":
        return Registry(Path(unquote(rest)))
    try:
        from index.bucket import Bucket, folder_for, shown, unwatched  # noqa: PLC0415 - comes with an extra
    except ImportError as error:
        raise InputError(f"{place} needs pip install 'anchorrec[bucket]': {error}") from None
    try:
        folder = folder_for(place, copies.expanduser())
    except RuntimeError as error:  # nobody's home
        raise InputError(f"{copies}: {error}; name another folder for copies") from error
    return Registry(Bucket(place, folder, watch=shown if progress else unwatched))


def absolute(place: str) -> str:
    """The same place, whatever folder is worked in."""
    return place if "://" in place else str(Path(place).absolute())


def find_bundle(location: str, copies: Path, *, progress: bool = False) -> tuple[Registry, str]:
    """The registry of a bundle that is named by its path or URL, and its id; neither need exist."""
    place, separator, bundle_id = location.rstrip("/").rpartition("/")
    if "://" not in location:
        path = Path(location) if Path(location).name else Path(location).absolute()
        return Registry(path.parent), path.name
    return open_registry(place if separator else location, copies, progress=progress), bundle_id
