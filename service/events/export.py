"""Exports events from the log to a Parquet file, for training."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from index.errors import InputError
from index.storage import atomic_writer
from service.events.event import Event
from service.events.log import EventLog, LogUnavailable
from service.events.open_log import open_log
from service.settings import EventSettings
from service.telemetry.metrics import Metrics

CHUNK = 10_000  # events read and written at once: bounds memory at any length of the log
COLUMNS = (
    "user_id",
    "item_id",
    "kind",
    "value",
    "timestamp",
    "event_id",
    "request_id",
    "bundle",
    "quantity",
    "portion",
    "arm",
    "items",
)

NULLABLE = ("request_id", "bundle", "quantity", "portion", "arm")


class Exported(NamedTuple):
    """The content of an exported file."""

    events: int
    after: int
    last_position: int  # `after` of the next export
    unreadable: int  # entries that are no events, and were skipped


async def export_events(
    log: EventLog, out: Path, *, after: int = 0, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Exported:
    """Write the events after a position, up to the newest one at the start, and mark them as exported.

    Entries that are no events are skipped and counted.
    The file appears atomically once it is complete. InputError where it cannot be written or the log ends earlier.
    """
    last = await log.last_position()
    if after > last:
        raise InputError(f"the log ends at position {last}, expected one that is not before {after}, where to begin")
    total, done, unreadable = await log.count_since(after), 0, 0
    try:
        # In threads, so that the event loop of a service that exports does not wait for Parquet.
        with atomic_writer(out) as file, await asyncio.to_thread(_open_writer, file) as writer:
            async for chunk in _read_chunks(log, after, last):
                events = [(position, event) for position, event in chunk if event is not None]
                await asyncio.to_thread(_write_chunk, writer, events)
                done, unreadable = done + len(chunk), unreadable + len(chunk) - len(events)
                on_progress(done, max(total, done))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}; nothing was left") from error
    await log.mark_exported(last)
    return Exported(done - unreadable, after, last, unreadable)


async def export_all(settings: EventSettings, out: Path, after: int) -> Exported:
    """Export from the log of the settings, with a progress bar where standard error is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("events", total=None)
        try:
            async with open_log(settings, Metrics(), time.time) as log:
                return await export_events(
                    log, out, after=after, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
                )
        except LogUnavailable as error:
            raise InputError(error.detail) from error


async def _read_chunks(log: EventLog, after: int, last: int) -> AsyncIterator[list[tuple[int, Event | None]]]:
    while after < last:
        chunk = [(position, event) for position, event in await log.read(after, CHUNK) if position <= last]
        if not chunk:
            return
        yield chunk
        after = chunk[-1][0]


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and only an export needs it

    text, number = pa.string(), pa.float64()
    types = dict.fromkeys(("value", "timestamp", "quantity", "portion"), number) | {"items": pa.list_(text)}
    fields = [pa.field(name, types.get(name, text), name in NULLABLE) for name in COLUMNS]
    return pa.schema([*fields, pa.field("position", pa.int64(), nullable=False)])


def _open_writer(file: Any) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetWriter(file, _schema(), compression="zstd")


def _write_chunk(writer: Any, chunk: list[tuple[int, Event]]) -> None:
    import pyarrow as pa  # noqa: PLC0415

    columns: dict[str, list[Any]] = {name: [getattr(event, name) for _, event in chunk] for name in COLUMNS}
    columns["position"] = [position for position, _ in chunk]
    writer.write_table(pa.table(columns, schema=_schema()))
