"""Opens and closes the event log that the settings choose."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.events.intake import EventIntake
from service.events.log import EventLog
from service.events.sqlite_log import SqliteLog
from service.events.stream_log import StreamLog, open_stream
from service.settings import EventSettings, Settings
from service.telemetry.metrics import Metrics
from service.telemetry.resources import free_share

FILE = "events.sqlite"


@asynccontextmanager
async def open_log(settings: EventSettings, metrics: Metrics, clock: Callable[[], float]) -> AsyncIterator[EventLog]:
    """Open the log; InputError where it cannot be used."""
    if settings.event_log == "sqlite":
        folder = settings.data_folder
        log: SqliteLog | StreamLog = SqliteLog(folder / FILE, settings, metrics, clock)
        metrics.disk_free.labels("data").set_function(lambda: free_share(folder))
    else:
        log = open_stream(settings, metrics, clock)
    try:
        if isinstance(log, StreamLog):
            await log.check()
        yield log
    finally:
        await log.close()


def check_log(settings: EventSettings) -> None:
    """Check before the start that the log can be opened; InputError where it cannot."""

    async def check() -> None:
        async with open_log(settings, Metrics(), time.time):
            pass

    asyncio.run(check())


@asynccontextmanager
async def open_intake(
    settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.time
) -> AsyncIterator[EventIntake]:
    """Open the log and what takes events into it."""
    async with open_log(settings, metrics, clock) as log:
        feedback = EventIntake(log, settings, metrics, clock)
        try:
            yield feedback
        finally:
            await feedback.close()
