"""LiveIndex: items are put, replaced and removed while an index serves; durable, and without a rebuild of the index."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from index.ids import IdTable
from index.item_index import ItemIndex
from index.live.delta import LiveSnapshot
from index.live.delta_base import BaseRecord, Read, log_path, remove_before, write_base
from index.live.delta_limits import DeltaFull, DeltaLimits, checked_items
from index.live.delta_log import Change, LogWriter
from index.live.delta_opening import open_delta, state_of_base
from index.ranking import NO_ROWS, Array, checked_rows

__all__ = ["DeltaFull", "DeltaLimits", "LiveIndex", "LiveSnapshot"]

_logger = logging.getLogger(__name__)


class LiveIndex:
    """Items by id over a main index that does not change. Any thread may call anything; changes wait for each other.

    Searches use `snapshot`, which no change alters. A change is synced to the log before it is in a snapshot and before
    the call returns. Compaction builds a new main index of all items, while changes and searches go on.
    """

    def __init__(
        self,
        folder: Path,
        main: ItemIndex,
        item_ids: IdTable,
        main_id: str,
        *,
        build: Callable[[Array], ItemIndex],
        read: Read = ItemIndex.read,
        limits: DeltaLimits | None = None,
    ) -> None:
        """Open a folder, a new one or one that a LiveIndex over the same main index wrote.

        item_ids are those of the rows of `main`; main_id names both, as a bundle's id does. `build` makes a main index
        of vectors (n, d), `read` opens the file that it writes. InputError where the folder belongs to another main
        index or is open, here or in another process, or a compacted index is damaged; OSError where it cannot be
        written. `unreadable` tells how many bytes of the logs were in no whole change: one that a kill cut short, or
        damage.
        """
        self._folder, self._build, self._read = folder, build, read
        self._limits = limits or DeltaLimits.of(len(main))
        opened = open_delta(folder, main, item_ids, main_id, read)
        self._state, self._ids, self._number, self._log = opened.state, opened.ids, opened.number, opened.log
        self._owned, self.unreadable = opened.lock, opened.unreadable
        self._lock, self._compacting = threading.Lock(), threading.Lock()
        self._background: threading.Thread | None = None
        self._since: list[Change] | None = None  # the changes since the running compaction began
        self._compact_from = self._limits.compact_from
        self.problem: str | None = None  # why the last compaction failed; None once one has succeeded
        self._hidden = NO_ROWS
        self._snapshot = self._state.snapshot()

    @property
    def snapshot(self) -> LiveSnapshot:
        """The index as of the last change; it stays as it is."""
        return self._snapshot

    @property
    def n_items(self) -> int:
        """Items, hidden ones included."""
        return self._state.n_items

    @property
    def n_changes(self) -> int:
        """Changes that are not compacted: items in the delta, and rows of the main index replaced or removed."""
        return self._state.n_changes

    def row(self, item_id: str) -> int | None:
        """The row of an id, a removed item's too; None where it was never there."""
        return self._ids.row(item_id)

    def item_id(self, row: int) -> str:
        """The id of a row that a search returned."""
        return self._ids.item_id(row)

    def changed(self) -> tuple[list[str], list[str]]:
        """The ids put and the ids removed since the bundle: what to repeat over the next one."""
        with self._lock:
            ids = self._ids
            return [ids.item_id(row) for row in sorted(ids.put)], [ids.item_id(row) for row in sorted(ids.removed)]

    def change(self, put: Mapping[str, Array], remove: Iterable[str] = ()) -> Array:
        """Put vectors (d,) by id and remove ids, as one; durable on return, and in every later snapshot.

        Returns the rows of `put` in its order: an id keeps its row. Ids to remove that are not there are skipped.
        InputError on a wrong id or vector or an id in both, DeltaFull where there is no room, OSError where the log
        cannot be written; then nothing has changed.
        """
        removed_ids = set(remove)
        vectors = checked_items(put, removed_ids, self._state.main.vectors.shape[1])
        with self._lock:
            change = self._change(tuple(put), vectors, removed_ids)
            if change.rows or change.removed:
                self._log.append(change)
                self._ids.apply(change)
                self._state.apply(change)
                if self._since is not None:
                    self._since.append(change)
                self._publish()
            self._compact_if_due()
        return np.array(change.rows, np.int64)

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows, in all snapshots from the next on; not durable."""
        with self._lock:
            self._hidden = checked_rows(rows, len(self._snapshot))
            self._publish()

    def compact(self) -> bool:
        """Build a main index of all items and swap to it; False where there is nothing to do.

        One runs at a time. InputError or OSError where it cannot be built or written; then nothing has changed.
        """
        with self._compacting:
            frozen = self._freeze()
            if frozen is None:
                return False
            try:
                self._write(*frozen)
                self._swap(frozen[0])
            finally:
                self._since = None
            remove_before(self._folder, frozen[0])
            return True

    def close(self) -> None:
        """Wait for a running compaction, then release the folder. No change may follow."""
        background = self._background
        if background is not None:
            background.join()
        with self._compacting, self._lock:
            self._log.close()
            self._owned.close()

    def _change(self, ids: tuple[str, ...], vectors: Array, removed_ids: set[str]) -> Change:
        """The change by rows; DeltaFull where there is no room for it. Removing alone is never refused."""
        rows = self._ids.rows_for(ids, self._state.n_rows)
        found = [row for item_id in removed_ids if (row := self._ids.row(item_id)) is not None]
        removed = tuple(row for row in found if self._state.holds(row))
        if rows:
            doing = f"its last compaction failed: {self.problem}" if self.problem else "it is being compacted"
            n_changes = self._state.n_changes + 2 * len(rows) + len(removed)  # a replaced row counts twice
            self._limits.check(n_changes, max(self._state.n_rows, *(row + 1 for row in rows)), doing)
        return Change(ids, rows, vectors, removed)

    def _publish(self) -> None:
        snapshot = self._state.snapshot()
        self._snapshot = snapshot.with_hidden(self._hidden) if len(self._hidden) else snapshot

    def _freeze(self) -> tuple[int, Array, Array, BaseRecord] | None:
        """The number, rows, vectors and record of the next base. Changes go to the log of that number from here on."""
        with self._lock:
            state, ids = self._state, self._ids
            if not state.n_changes or not state.n_items:
                return None
            number = self._number + 1
            log = LogWriter(log_path(self._folder, number))
            self._log.close()
            self._number, self._log, self._since = number, log, []
            record = BaseRecord(
                n_rows=state.n_rows, added=dict(ids.added), put=tuple(ids.put), removed=tuple(ids.removed)
            )
            return number, *state.items(), record

    def _write(self, number: int, rows: Array, vectors: Array, record: BaseRecord) -> None:
        write_base(self._folder, number, self._build(vectors), rows, record)

    def _swap(self, number: int) -> None:
        state, _ = state_of_base(self._folder, number, self._read)
        with self._lock:
            for change in self._since or ():
                state.apply(change)
            self._state, self._since = state, None
            self._publish()

    def _compact_if_due(self) -> None:
        """Start a compaction in a thread of its own, unless one runs; the caller holds the lock."""
        due = self._state.n_changes >= self._compact_from and self._state.n_items
        if due and (self._background is None or not self._background.is_alive()):
            self._background = threading.Thread(target=self._compact_in_background, name="compaction", daemon=True)
            self._background.start()

    def _compact_in_background(self) -> None:
        try:
            self.compact()
        except Exception as error:  # the edge of this thread: FAISS, memory and disk may all fail
            _logger.exception("compaction of %s failed", self._folder)
            self.problem = " ".join(str(error).split()) or type(error).__name__
            self._compact_from = 2 * self._state.n_changes  # not at each change: a build may take minutes
        else:
            self.problem, self._compact_from = None, self._limits.compact_from
