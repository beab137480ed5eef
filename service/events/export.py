"""The log as a Parquet file, for training."""

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
from service.settings import Settings
from service.telemetry.metrics import Metrics

CHUNK = 10_000  # events read and written at once: bounds memory at any length of the log
COLUMNS = ("user_id", "item_id", "kind", "value", "timestamp", "event_id", "request_id", "bundle")


class Exported(NamedTuple):
    """What a file holds."""

    events: int
    after: int
    last_position: int  # give this as `after` the next time


async def export_events(
    log: EventLog, out: Path, *, after: int = 0, advance: Callable[[int, int], None] = lambda done, of: None
) -> Exported:
    """Write the events after a position, up to the newest at this moment, and mark them as exported.

    The file appears in one step once it is whole. `advance` is told how many events are done, and of how many.
    """
    last = await log.last_position()
    if after > last:
        raise InputError(f"the log ends at position {last}, expected one that is not before {after}, where to begin")
    total, done = await log.count_since(after), 0
    try:
        # In threads: a service that answers meanwhile must not wait for Parquet.
        with atomic_writer(out) as file, await asyncio.to_thread(_writer, file) as writer:
            async for chunk in _chunks(log, after, last):
                await asyncio.to_thread(_add, writer, chunk)
                done += len(chunk)
                advance(done, max(total, done))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}; nothing was left") from error
    await log.mark_exported(last)
    return Exported(done, after, last)


async def export_all(settings: Settings, out: Path, after: int) -> Exported:
    """The same from the log that the settings name, with a bar on standard error where that is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("events", total=None)
        try:
            async with open_log(settings, Metrics(), time.time) as log:
                return await export_events(
                    log, out, after=after, advance=lambda done, of: bar.update(task, completed=done, total=of)
                )
        except LogUnavailable as error:
            raise InputError(error.detail) from error


async def _chunks(log: EventLog, after: int, last: int) -> AsyncIterator[list[tuple[int, Event]]]:
    while after < last:
        chunk = [(position, event) for position, event in await log.read(after, CHUNK) if position <= last]
        if not chunk:
            return
        yield chunk
        after = chunk[-1][0]


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415 - the service itself never needs it, and it takes long to import

    text, number = pa.string(), pa.float64()
    kinds = {"value": number, "timestamp": number}
    fields = [pa.field(name, kinds.get(name, text), name in ("request_id", "bundle")) for name in COLUMNS]
    return pa.schema([*fields, pa.field("position", pa.int64(), nullable=False)])


def _writer(file: Any) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetWriter(file, _schema(), compression="zstd")


def _add(writer: Any, chunk: list[tuple[int, Event]]) -> None:
    import pyarrow as pa  # noqa: PLC0415

    columns: dict[str, list[Any]] = {name: [getattr(event, name) for _, event in chunk] for name in COLUMNS}
    columns["position"] = [position for position, _ in chunk]
    writer.write_table(pa.table(columns, schema=_schema()))
