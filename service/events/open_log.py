"""Opens and closes the event log that the settings choose."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from service.events.intake import EventIntake
from service.events.kinds import event_kinds
from service.events.known_bundles import KnownBundles, any_bundle
from service.events.log import EventLog
from service.events.sqlite_log import SqliteLog
from service.events.stream_log import StreamLog, open_stream
from service.settings import EventSettings, Settings
from service.telemetry.metrics import Metrics
from service.telemetry.resources import free_share

FILE = "events.sqlite"


@asynccontextmanager
async def open_log(
    settings: EventSettings,
    metrics: Metrics,
    clock: Callable[[], float],
    label: Callable[[str | None], str] = any_bundle,
) -> AsyncIterator[EventLog]:
    """Open the log, which counts events by the label of the bundle that they name; InputError where it is unusable."""
    kinds = event_kinds(settings)
    if settings.event_log == "sqlite":
        folder = settings.data_folder
        log: SqliteLog | StreamLog = SqliteLog(folder / FILE, settings, metrics, clock, label, kinds=kinds)
        metrics.disk_free.labels("data").set_function(lambda: free_share(folder))
    else:
        log = open_stream(settings, metrics, clock, label, kinds=kinds)
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
    settings: Settings,
    metrics: Metrics,
    clock: Callable[[], float] = time.time,
    *,
    list_bundles: Callable[[], Iterable[str]] = tuple,
) -> AsyncIterator[EventIntake]:
    """Open the log and what takes events into it; `list_bundles` gives the registry's bundles and may block."""
    known = KnownBundles(list_bundles, metrics, time.monotonic)
    async with open_log(settings, metrics, clock, known.label) as log:
        feedback = EventIntake(log, settings, metrics, clock, known)
        try:
            yield feedback
        finally:
            await feedback.close()
