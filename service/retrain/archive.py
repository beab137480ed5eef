"""What training reads as Parquet files: the event log, which remains when the log removes old events, and the items.

Each file of events is named after the position that precedes its first one, and is complete before the log may remove
them.
"""

import asyncio
from pathlib import Path

from index.storage import remove_leftovers
from service.events.export import export_events
from service.events.log import EventLog
from service.items.export import EncodedPictures, export_items
from service.items.store import ItemStore


async def extend_archive(folder: Path, log: EventLog) -> int:
    """Export the events that the files lack; return the position of the last event in the files."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
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
