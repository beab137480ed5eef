"""The event log as Parquet files in a folder: what training reads, and what stays when the log forgets old events.

Each file is named by the position after which it begins, and is written whole before the log may forget what is in it.
"""

import asyncio
from pathlib import Path

from index.storage import remove_leftovers
from service.events.export import export_events
from service.events.log import EventLog


async def extend_archive(folder: Path, log: EventLog) -> int:
    """Add what the log has beyond the files; the position up to which they reach then."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(remove_leftovers, folder)
    reached = await asyncio.to_thread(archived_position, folder)
    if await log.last_position() <= reached and any(folder.glob("*.parquet")):
        return reached
    exported = await export_events(log, folder / f"{reached:020}.parquet", after=reached)
    return exported.last_position


def archived_position(folder: Path) -> int:
    """Of the last event in the files; 0 where there are none."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - takes long to import, and only retraining needs it

    files = sorted(folder.glob("*.parquet"))
    if not files:
        return 0
    positions = pq.read_table(files[-1], columns=["position"])["position"]
    return int(positions[-1].as_py()) if len(positions) else int(files[-1].stem)
