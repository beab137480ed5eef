"""The log that the settings ask for, opened and closed in one place."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.events.intake import Feedback
from service.events.log import EventLog
from service.events.sqlite_log import SqliteLog
from service.events.stream_log import StreamLog, open_stream
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.resources import free_share

FILE = "events.sqlite"


@asynccontextmanager
async def open_log(settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> AsyncIterator[EventLog]:
    """The log; InputError where it cannot be used."""
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


def check_log(settings: Settings) -> None:
    """InputError where the log cannot be used: before anything is served."""

    async def check() -> None:
        async with open_log(settings, Metrics(), time.time):
            pass

    asyncio.run(check())


@asynccontextmanager
async def open_feedback(
    settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.time
) -> AsyncIterator[Feedback]:
    """The way into that log."""
    async with open_log(settings, metrics, clock) as log:
        feedback = Feedback(log, settings, metrics, clock)
        try:
            yield feedback
        finally:
            await feedback.close()
