"""The registry: all bundles in a folder or bucket, and the pointer to the one that serves.

`current.json` = {"bundle": id, "history": [ids that served before, oldest first]}. It is replaced atomically, after
everything else is durable, so it always names a whole bundle. Concurrent changes are serialised: a folder by a lock, a
bucket by conditional writes that are repeated after a conflict (index/bundle_store.py, index/bucket.py).
The gate's report and the publishing history of a bundle are in records/ (index/records.py), the experiments in
`experiments.json` (index/experiments.py).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict

from index.bundle import Manifest, open_bundle
from index.bundle_store import ENCODERS, BundleStore, FolderStore, StoredFile, StoreUnavailableError, WriteConflictError
from index.encoders import Encoders
from index.errors import BundleError, InputError
from index.experiments import DOCUMENT, NO_EXPERIMENTS, Change, Experiments, parse_experiments
from index.manifest import BUNDLE_ID
from index.reading import reason
from index.records import BundleRecord, GateResult, PointerMove, parse_record, record_name
from index.storage import replace_file

POINTER = "current.json"
MOST_HISTORY = 50  # ids in the pointer's history
MOST_ATTEMPTS = 20  # of a change, while other processes' changes conflict with it

T = TypeVar("T")


class Pointer(BaseModel):
    """The bundle that serves, and those that served before, oldest first; a rollback goes to the last of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle: str
    history: list[str] = []

    def precedes(self, other: "Pointer") -> bool:
        """Whether rollbacks lead from the other pointer to this one."""
        return len(self.history) < len(other.history) and self.history == other.history[: len(self.history)]


class Registry:
    """The bundles of one store and the pointer. It caches nothing: the next call sees what other processes published.

    Methods raise InputError where the store cannot be changed, OSError where it cannot be reached or read.
    """

    def __init__(self, store: BundleStore | Path) -> None:
        self._store: BundleStore = FolderStore(store) if isinstance(store, Path) else store
        self.encoders = Encoders(self._store)

    def __str__(self) -> str:
        return str(self._store)

    @property
    def is_remote(self) -> bool:
        """Whether bundles are downloaded before they are opened."""
        return self._store.is_remote

    @property
    def folder(self) -> Path:
        """Local folder: new bundles are written into it for `add_bundle`, and bundles are opened from it."""
        return self._store.folder

    def ids(self) -> list[str]:
        """The ids of all bundles, newest first."""
        return sorted(self._store.ids(), reverse=True)

    def path(self, bundle_id: str) -> Path:
        """The bundle's local folder, downloaded if need be; InputError where the registry has no such bundle."""
        return self._store.fetch(self._require(bundle_id))

    def fetch(self, bundle_id: str) -> Path:
        """As `path`, but of a bundle that may have been removed: then the returned folder does not exist."""
        return self._store.fetch(bundle_id) if self.holds(bundle_id) else self.folder / bundle_id

    def drop_copy(self, bundle_id: str) -> bool:
        """Remove the local copy of a bundle, so that it is fetched again; False where there are no copies."""
        return self._store.drop_copy(bundle_id)

    def holds(self, bundle_id: str) -> bool:
        """Whether the registry has a bundle of that id."""
        # The pattern first: an id may come from outside, and must not become a path such as "..".
        return BUNDLE_ID.fullmatch(bundle_id) is not None and self._store.holds(bundle_id)

    def location(self, bundle_id: str) -> str:
        """The bundle's path or URL, as the command line takes it."""
        return self._store.location(bundle_id)

    def manifest(self, bundle_id: str) -> Manifest:
        """The bundle's manifest, without its other files; BundleError where it cannot be read."""
        return self._store.manifest(self._require(bundle_id))

    def size(self, bundle_id: str) -> int:
        """Bytes of all files of the bundle."""
        return self._store.size(self._require(bundle_id))

    def add_bundle(self, path: Path) -> str:
        """Store a bundle that was written into `folder`; returns its location once it is durable."""
        try:
            return self._store.add_bundle(path)
        except OSError as error:
            raise InputError(f"cannot write into {self}: {error.strerror or error}") from error

    def in_use(self, bundle_id: str) -> AbstractContextManager[None]:
        """While the context is open, `evict_copies` keeps the local copy of the bundle."""
        return self._store.in_use(bundle_id)

    def evict_copies(self, *kept: str | None) -> None:
        """Remove downloaded copies, except those of the `kept` bundles and of bundles in use; a folder has none."""
        self._store.evict_copies({bundle_id for bundle_id in kept if bundle_id})

    def save_offline_pointer(self, pointer: Pointer) -> None:
        """Save beside the copies which bundle this machine serves, for a start while the store is unavailable."""
        if self.is_remote:
            replace_file(self.folder / POINTER, pointer.model_dump_json().encode())

    def offline_registry(self) -> "Registry":
        """The downloaded copies as a registry of their own, with the pointer that `save_offline_pointer` saved."""
        return Registry(self.folder)

    def pointer(self) -> Pointer | None:
        """The current pointer, None before the first publish; InputError where it is damaged."""
        return self._parsed(self._store.read(POINTER))

    def _parsed(self, stored: StoredFile | None) -> Pointer | None:
        try:
            return None if stored is None else Pointer.model_validate_json(stored.data)
        except ValueError as error:
            raise InputError(
                f'{self}/{POINTER} is damaged ({reason(error)}); expected {{"bundle": id, "history": [...]}}'
            ) from error

    def current_id(self) -> str | None:
        """The id of the bundle that serves, None before the first publish."""
        pointer = self.pointer()
        return None if pointer is None else pointer.bundle

    def current(self) -> Path:
        """The folder of the bundle that serves; InputError where none is published."""
        return self.path(self.published().bundle)

    def published(self) -> Pointer:
        """The current pointer; InputError where it is damaged, or before the first publish."""
        pointer = self.pointer()
        if pointer is None:
            raise InputError(f"{self} has no published bundle; publish {self._expected()}")
        return pointer

    def history(self) -> list[str]:
        """The ids that served before the current one, oldest first; the last is where a rollback goes."""
        pointer = self.pointer()
        return [] if pointer is None else pointer.history

    def record(self, bundle_id: str) -> BundleRecord:
        """The registry's record of a bundle."""
        return self._read_record(bundle_id)[0]

    def save_gate_report(self, bundle_id: str, result: GateResult) -> None:
        """Store the gate's report in the bundle's record, in place of an earlier one."""
        self._change(lambda _: self._update_record(bundle_id, gate=result))

    def experiments(self) -> Experiments:
        """The experiments; InputError where their document is damaged."""
        return self._parsed_experiments(self._store.read(DOCUMENT))

    def change_experiments(self, change: Change) -> Experiments:
        """Apply the change to the experiments and return them; it is applied again after a conflict.

        What `change` raises is raised, and nothing is written.
        """

        def changed(_: StoredFile | None) -> Experiments:
            found = self._store.read(DOCUMENT)
            before = self._parsed_experiments(found)
            after = change(before)
            if after != before:
                self._store.replace(DOCUMENT, after.model_dump_json(indent=2).encode(), found)
            return after

        return self._change(changed)

    def _parsed_experiments(self, stored: StoredFile | None) -> Experiments:
        return NO_EXPERIMENTS if stored is None else parse_experiments(stored.data, str(self))

    def publish(self, bundle_id: str, move: PointerMove | None = None) -> None:
        """Point to the bundle and clear its withdrawal. The caller runs the gate; a bundle that cannot be opened is
        refused here.
        """
        self._check(bundle_id)  # before the change, since it may have to be fetched
        self._change(partial(self._publish, bundle_id, move))

    def _publish(self, bundle_id: str, move: PointerMove | None, found: StoredFile | None) -> None:
        self._check(bundle_id)
        pointer = self._parsed(found)
        if move is not None or self.record(bundle_id).withdrawn is not None:
            self._update_record(bundle_id, published=move, withdrawn=None)
        if pointer is None:
            self._point(Pointer(bundle=bundle_id), found)
        elif pointer.bundle != bundle_id:
            history = [*pointer.history, pointer.bundle][-MOST_HISTORY:]
            self._point(Pointer(bundle=bundle_id, history=history), found)

    def rollback(self, move: PointerMove | None = None, *, leaving: str | None = None) -> str:
        """Point to the bundle that served before; returns the id that serves now. InputError where there is none.

        With `leaving`, nothing changes unless that bundle serves: two concurrent rollbacks go back one step, not two.
        """
        return self._change(partial(self._rollback, move, leaving))

    def _rollback(self, move: PointerMove | None, leaving: str | None, found: StoredFile | None) -> str:
        pointer = self._parsed(found)
        if pointer is not None and leaving not in (None, pointer.bundle):
            return pointer.bundle
        target = self._target(pointer)
        self._check(target.bundle)
        if move is not None:
            self._update_record(target.bundle, published=move)
        self._point(target, found)
        return target.bundle

    def withdraw(self, bundle_id: str, move: PointerMove) -> str | None:
        """Roll back if this bundle serves, and mark it withdrawn, so that no replica loads it until it is published.

        Returns the id that serves now. None, and nothing is changed, where another bundle serves already: of several
        replicas that detect the same fault only one acts.
        """
        return self._change(partial(self._withdraw, bundle_id, move))

    def _withdraw(self, bundle_id: str, move: PointerMove, found: StoredFile | None) -> str | None:
        pointer = self._parsed(found)
        if pointer is None or pointer.bundle != bundle_id:
            return None
        target = self._target(pointer)
        self._check(target.bundle)
        record, stored = self._read_record(bundle_id)
        self._point(target, found)
        with suppress(WriteConflictError):  # it was published again meanwhile: that publish stands
            self._write_record(bundle_id, record.model_copy(update={"withdrawn": move}), stored)
        return target.bundle

    def withdraw_unpublished(self, bundle_id: str, move: PointerMove) -> None:
        """Mark a bundle withdrawn that served an experiment's arm badly, unless it is the published one."""
        self._change(partial(self._withdraw_unpublished, bundle_id, move))

    def _withdraw_unpublished(self, bundle_id: str, move: PointerMove, found: StoredFile | None) -> None:
        pointer = self._parsed(found)
        if pointer is None or pointer.bundle != bundle_id:
            self._update_record(bundle_id, withdrawn=move)

    def readmit(self, bundle_id: str) -> None:
        """Clear a bundle's withdrawal: it is about to be published into an experiment's arm."""
        if self.record(bundle_id).withdrawn is not None:
            self._change(lambda _: self._update_record(bundle_id, withdrawn=None))

    def rollback_targets(self) -> list[str]:
        """The bundles that a rollback could go to, oldest first: those that exist and were not withdrawn."""
        return self._rollback_targets(self.pointer())

    def _rollback_targets(self, pointer: Pointer | None) -> list[str]:
        existing = set(self.ids())
        history = [] if pointer is None else pointer.history
        return [one for one in history if one in existing and self.record(one).withdrawn is None]

    def _target(self, pointer: Pointer | None) -> Pointer:
        history = self._rollback_targets(pointer)
        if not history:
            serving = None if pointer is None else pointer.bundle
            raise InputError(f"{self} has no earlier bundle to go back to; serving: {serving}")
        return Pointer(bundle=history[-1], history=history[:-1])

    def prune(self, keep: int) -> list[str]:
        """Remove all but the `keep` newest bundles, and those that serve, also an experiment's; returns their ids.

        The rollback targets are kept, too.
        Also removes encoders that no bundle names, which it returns as `encoders/<digest>`, and unfinished files of
        killed writers. A process that has a removed bundle open keeps its memory maps.
        """
        if keep < 0:
            raise InputError(f"keep is {keep}; expected 0 or more")
        return self._change(partial(self._prune, keep))

    def _prune(self, keep: int, found: StoredFile | None) -> list[str]:
        self._store.remove_leftovers()
        pointer = self._parsed(found)
        experiments = self.experiments()
        serving = {None if pointer is None else pointer.bundle, *experiments.bundles, *experiments.rollback_targets}
        kept = {*self.ids()[:keep], *self._rollback_targets(pointer)[-1:], *serving}
        removed = [bundle_id for bundle_id in self.ids() if bundle_id not in kept]
        self._forget(set(removed), pointer, found)
        for bundle_id in removed:
            self._store.discard(bundle_id)
            self._store.remove(record_name(bundle_id))
        return removed + [f"{ENCODERS}/{digest}" for digest in self._prune_encoders()]

    def _prune_encoders(self) -> list[str]:
        """Nothing is removed where a manifest cannot be read, since it may name any of them."""
        if not self.encoders.digests():
            return []
        try:
            manifests = [self._store.manifest(bundle_id) for bundle_id in self.ids()]
        except BundleError:
            return []
        return self.encoders.prune({one.digest for manifest in manifests for one in manifest.encoders.values()})

    def _forget(self, removed: set[str], pointer: Pointer | None, found: StoredFile | None) -> None:
        """Remove ids from the history before their bundles, so that a crash leaves no id of a missing bundle there."""
        if pointer is not None and removed.intersection(pointer.history):
            history = [bundle_id for bundle_id in pointer.history if bundle_id not in removed]
            self._point(Pointer(bundle=pointer.bundle, history=history), found)

    def _change(self, change: Callable[[StoredFile | None], T]) -> T:
        """Apply the change to the current pointer; repeat it after a conflict with another process's change."""
        for _ in range(MOST_ATTEMPTS):
            try:
                with suppress(WriteConflictError), self._store.change_lock():
                    return change(self._store.read(POINTER))
            except OSError as error:  # a full or read-only disk, an unavailable network
                raise InputError(f"cannot change {self}: {error.strerror or error}") from error
        raise InputError(f"cannot change {self}: conflicting changes {MOST_ATTEMPTS} times in a row; try again")

    def _point(self, pointer: Pointer, found: StoredFile | None) -> None:
        self._store.replace(POINTER, pointer.model_dump_json().encode(), found)

    def _read_record(self, bundle_id: str) -> tuple[BundleRecord, StoredFile | None]:
        if not BUNDLE_ID.fullmatch(bundle_id):  # of a damaged pointer: no path and no key may be made of it
            return BundleRecord(), None
        try:
            stored = self._store.read(record_name(bundle_id))
        except StoreUnavailableError:
            raise
        except InputError:  # not even a file: as a damaged one
            return BundleRecord(), None
        return (BundleRecord() if stored is None else parse_record(stored.data)), stored

    def _update_record(self, bundle_id: str, **changes: Any) -> None:
        record, stored = self._read_record(bundle_id)
        self._write_record(bundle_id, record.model_copy(update=changes), stored)

    def _write_record(self, bundle_id: str, record: BundleRecord, before: StoredFile | None) -> None:
        self._store.replace(record_name(bundle_id), record.model_dump_json(indent=2).encode(), before)

    def _check(self, bundle_id: str) -> None:
        path = self.path(bundle_id)
        bundle = open_bundle(path, verify=False)
        if (found := bundle.bundle_id) != bundle_id:
            raise BundleError(f"{path} holds bundle {found}; expected {bundle_id}: the folder was renamed")
        bundle.index()

    def _require(self, bundle_id: str) -> str:
        if not self.holds(bundle_id):
            raise InputError(f"{self} has no bundle {bundle_id[:120]!r}; expected {self._expected()}")
        return bundle_id

    def _expected(self) -> str:
        ids = self.ids()
        return f"one of {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}" if ids else "bundles in it, it has none"


def open_registry(place: str, copies: Path, *, progress: bool = False) -> Registry:
    """The registry at a path or a URL; sends no request yet.

    Args:
        place: a folder's path, `file:///path`, or a bucket's URL such as `s3://bucket/bundles`.
        copies: local folder for bundles downloaded from buckets.
        progress: show the progress of transfers on a terminal.

    Raises:
        InputError: the URL is malformed, or the library for buckets is not installed.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return Registry(Path(place))
    if scheme == "file":
        return Registry(Path(unquote(rest)))
    try:
        from index.bucket import BucketStore, copies_folder, no_progress, progress_bar  # noqa: PLC0415 - comes with an extra
    except ImportError as error:
        raise InputError(f"{place} needs pip install 'anchorrec[bucket]': {error}") from None
    try:
        folder = copies_folder(place, copies.expanduser())
    except RuntimeError as error:  # no home directory
        raise InputError(f"{copies}: {error}; name another folder for copies") from error
    return Registry(BucketStore(place, folder, progress=progress_bar if progress else no_progress))


def absolute_place(place: str) -> str:
    """The place with a path made absolute; a URL stays as it is."""
    return place if "://" in place else str(Path(place).absolute())


def find_bundle(location: str, copies: Path, *, progress: bool = False) -> tuple[Registry, str]:
    """Split a bundle's path or URL into its registry and its id; neither need exist."""
    place, separator, bundle_id = location.rstrip("/").rpartition("/")
    if "://" not in location:
        path = Path(location) if Path(location).name else Path(location).absolute()
        return Registry(path.parent), path.name
    return open_registry(place if separator else location, copies, progress=progress), bundle_id
