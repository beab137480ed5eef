"""What training reads as Parquet files: the event log, which remains when the log removes old events, and the items.

Each file of events is named after the position that precedes its first one, and is complete before the log may remove
them.
Where a person is forgotten, an event without ids takes the place of each of theirs, so that positions keep their law.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from index.storage import atomic_writer, locked, remove_leftovers
from service.events.event import FORGOTTEN, Event
from service.events.export import export_events
from service.events.log import EventLog
from service.items.export import EncodedPictures, export_items
from service.items.store import ItemStore

BATCH_ROWS = 50_000  # read and written at once: bounds memory at any size of a file

FindForgotten = Callable[[Iterable[str]], Mapping[str, int]]
"""Of these user ids the forgotten ones, each with the position up to which its events go."""


class Rewritten(NamedTuple):
    """What was removed from the archive."""

    files: int
    events: int


async def extend_archive(folder: Path, log: EventLog) -> int:
    """Export the events that the files lack; return the position of the last event in the files."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with ExitStack() as held:  # a person who is forgotten meanwhile is removed from the log, and then from these files
        await asyncio.to_thread(held.enter_context, locked(folder))
        await asyncio.to_thread(remove_leftovers, folder)
        archived = await asyncio.to_thread(archived_position, folder)
        if await log.last_position() <= archived and any(folder.glob("*.parquet")):
            return archived
        exported = await export_events(log, folder / f"{archived:020}.parquet", after=archived)
        return exported.last_position


def archived_position(folder: Path) -> int:
    """The position of the last event in the files; 0 where there are no files."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - takes long to import, and only retraining needs it

    files = sorted(folder.glob("*.parquet"))
    if not files:
        return 0
    with files[-1].open("rb") as file:  # Arrow reads more into a path than its name
        positions = pq.ParquetFile(file).read(columns=["position"])["position"]
    return int(positions[-1].as_py()) if len(positions) else int(files[-1].stem)


async def archive_items(file: Path, store: ItemStore, pictures: EncodedPictures | None) -> None:
    """Export the stored items; no file where none was ever stored."""
    if await store.last_position():
        await export_items(store, file, pictures=pictures)


def forget_in_archive(folder: Path, find: FindForgotten) -> Rewritten:
    """Rewrite the files that have events of forgotten people, each atomically. OSError where the disk refuses."""
    if not folder.is_dir():
        return Rewritten(0, 0)
    with locked(folder):
        remove_leftovers(folder)
        counts = [_forget_in_file(file, find) for file in sorted(folder.glob("*.parquet"))]
    return Rewritten(sum(count > 0 for count in counts), sum(counts))


def archived_events(folder: Path, user_id: str) -> dict[int, Event]:
    """The person's events in the files, by position."""
    found: dict[int, Event] = {}
    for file in sorted(folder.glob("*.parquet")):
        for batch in _batches(file):
            for row in batch.filter(_is_of(batch, {user_id: batch_end(batch)})).to_pylist():
                position = row.pop("position")
                fields = {name: value for name, value in row.items() if name in Event.model_fields}
                found[position] = Event.model_validate(fields | {"items": row.get("items") or []})
    return found


def batch_end(batch: Any) -> int:
    """The last position in a batch; 0 in an empty one."""
    return int(batch.column("position")[-1].as_py()) if batch.num_rows else 0


def _forget_in_file(path: Path, find: FindForgotten) -> int:
    """How many events were removed; the file is unchanged where it has none of them."""
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    until: dict[str, int] = {}
    n = 0
    for batch in _batches(path, ["user_id", "position"]):
        until |= find(pc.unique(batch.column("user_id")).to_pylist())
        n += pc.sum(_is_of(batch, until)).as_py() or 0 if until else 0
    if not n:
        return 0
    with atomic_writer(path) as file, path.open("rb") as old:
        schema = pq.ParquetFile(old).schema_arrow
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in _batches(path):
                writer.write_batch(_emptied(batch, _is_of(batch, until)))
    return n


def _batches(path: Path, columns: list[str] | None = None) -> Iterator[Any]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    with path.open("rb") as file:  # Arrow reads more into a path than its name
        yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS, columns=columns)


def _is_of(batch: Any, until: Mapping[str, int]) -> Any:
    """Which rows are events of these people, up to the position of each."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    ids, last = pa.array(list(until), pa.string()), pa.array(list(until.values()), pa.int64())
    place = pc.index_in(batch.column("user_id"), ids)  # null where the user is none of them
    return pc.fill_null(pc.less_equal(batch.column("position"), pc.take(last, place)), False)


def _emptied(batch: Any, is_of: Any) -> Any:
    """The batch with an event without ids in these rows."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    names = pc.binary_join_element_wise(f"{FORGOTTEN}:", pc.cast(batch.column("position"), pa.string()), "")
    empty: dict[str, Any] = {"user_id": "", "item_id": "", "kind": FORGOTTEN, "value": 0.0, "event_id": names}

    def column(field: Any) -> Any:
        old = batch.column(field.name)
        if field.name in ("timestamp", "position"):
            return old
        if pa.types.is_list(field.type):
            rows = zip(is_of.to_pylist(), old.to_pylist(), strict=True)
            return pa.array([[] if gone else items for gone, items in rows], field.type)
        new = empty.get(field.name)
        return pc.if_else(is_of, new if isinstance(new, pa.Array) else pa.scalar(new, field.type), old)

    return pa.record_batch([column(field) for field in batch.schema], schema=batch.schema)
