"""Opens the folder of a live index: the newest compacted index, and the changes of the logs since."""

import logging
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from index.errors import InputError
from index.ids import IdTable
from index.item_index import ItemIndex
from index.live.delta import RowMap
from index.live.delta_base import BaseRecord, Owner, Read, claim, log_path, numbers, read_base, remove_before
from index.live.delta_ids import DeltaIds
from index.live.delta_log import LogWriter, read_log
from index.live.delta_state import DeltaState
from index.storage import locked, remove_leftovers

_logger = logging.getLogger(__name__)


@dataclass
class OpenDelta:
    """What the folder holds, and what holds the folder."""

    state: DeltaState
    ids: DeltaIds
    number: int  # of the log
    log: LogWriter
    unreadable: int  # bytes of the logs in no whole change: one that a kill cut short, or damage
    lock: ExitStack


def open_delta(folder: Path, main: ItemIndex, item_ids: IdTable, main_id: str, read: Read) -> OpenDelta:
    """Open or make the folder, and own it. InputError and OSError as LiveIndex tells."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        _own(lock, locked(folder, wait=False), folder)
        claim(folder, Owner(main_id=main_id, n_items=len(main), embedding_size=main.vectors.shape[1]))
        remove_leftovers(folder)
        base, logs = numbers(folder)
        state, ids = DeltaState(main, RowMap(len(main)), len(main)), DeltaIds(item_ids)
        if base:
            state, record = state_of_base(folder, base, read)
            ids = DeltaIds(item_ids, record.added, record.put, record.removed)
        end = unreadable = 0
        for number in logs:
            end, skipped = _replay(log_path(folder, number), state, ids)
            unreadable += skipped
        remove_before(folder, base)
        last = max([base, *logs])
        return OpenDelta(state, ids, last, LogWriter(log_path(folder, last), end), unreadable, lock.pop_all())


def state_of_base(folder: Path, number: int, read: Read) -> tuple[DeltaState, BaseRecord]:
    """The state that compaction wrote, before any later change. InputError where it is damaged."""
    index, rows, record = read_base(folder, number, read)
    return DeltaState(index, RowMap.of(rows, record.n_rows), record.n_rows), record


def _own(lock: ExitStack, lock_of_folder: AbstractContextManager[None], folder: Path) -> None:
    try:
        lock.enter_context(lock_of_folder)
    except BlockingIOError as error:
        raise InputError(f"{folder} is open already, in this process or another; expected one writer") from error


def _replay(path: Path, state: DeltaState, ids: DeltaIds) -> tuple[int, int]:
    """Apply the changes of a log; return where they end, and how many bytes were skipped."""
    content = read_log(path, state.main.vectors.shape[1])
    for change in content.changes:
        state.apply(change)
        ids.apply(change)
    if content.unreadable:
        _logger.warning("%s: skipped %d bytes that are no whole change", path, content.unreadable)
    return content.end, content.unreadable
