"""Group commit: appends that wait are written together, so that one sync makes all of them durable."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from service.background import start_worker
from service.errors import ServiceError
from service.events.event import Event
from service.events.log import Appended, LogUnavailable, Overloaded
from service.telemetry.metrics import EventMetrics

MOST_TOGETHER = 4_096  # events a write; bounds how long the first one waits for the last

Write = Callable[[list[Event]], Awaitable[list[str]]]
Tidy = Callable[[], Awaitable[None]]


class _PendingAppend(NamedTuple):
    events: Sequence[Event]
    done: "asyncio.Future[Appended]"


class GroupCommit:
    """Queues appends, up to a limit, and writes them batch by batch in one task.

    `write` makes the events durable and returns the ids of the new ones, or raises LogUnavailable and acknowledges
    none. `tidy` runs between writes.
    """

    def __init__(self, write: Write, tidy: Tidy, metrics: EventMetrics, *, most_waiting: int) -> None:
        self._write = write
        self._tidy = tidy
        self._metrics = metrics
        self._seconds = metrics.event_write_seconds
        self._most_waiting = most_waiting
        self._queue: deque[_PendingAppend] = deque()
        self._task: asyncio.Task[None] | None = None
        self.n_waiting = 0  # events, those being written included
        self.problem: str | None = None  # why the last write failed; None once one has succeeded
        metrics.events_waiting.set_function(lambda: self.n_waiting)

    async def append(self, events: Sequence[Event]) -> Appended:
        """Return once the events are durable; Overloaded where too many wait."""
        if not events:
            return Appended((), 0)
        if self.n_waiting and self.n_waiting + len(events) > self._most_waiting:
            raise Overloaded(f"{self.n_waiting} events wait to be written, the limit is {self._most_waiting}")
        loop = asyncio.get_running_loop()
        pending = _PendingAppend(events, loop.create_future())
        self._queue.append(pending)
        self.n_waiting += len(events)
        if self._task is None:
            self._task = start_worker(self._metrics, "event_writer", self._write_queue())
        return await pending.done

    async def _write_queue(self) -> None:
        try:
            while self._queue:
                batch = self._next_batch()
                try:
                    await self._commit(batch)
                finally:
                    self._release(batch)
                await self._tidy()
        finally:
            self._task = None
            self._release(list(self._queue))
            self._queue.clear()

    def _next_batch(self) -> list[_PendingAppend]:
        batch: list[_PendingAppend] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].events) <= MOST_TOGETHER):
            batch.append(self._queue.popleft())
            size += len(batch[-1].events)
        return batch

    async def _commit(self, batch: list[_PendingAppend]) -> None:
        try:
            with self._seconds.time():
                new_ids = set(await self._write([event for pending in batch for event in pending.events]))
        except ServiceError as error:
            self.problem = error.detail
            for pending in batch:
                if not pending.done.done():
                    pending.done.set_exception(error)
            return
        self.problem = None
        for pending in batch:
            appended = _claim_new(pending.events, new_ids)
            if not pending.done.done():  # the caller may have disconnected
                pending.done.set_result(appended)

    def _release(self, batch: list[_PendingAppend]) -> None:
        """Fail what was not written: when the task ends for any reason, no append may wait for it."""
        for pending in batch:
            self.n_waiting -= len(pending.events)
            if not pending.done.done():
                pending.done.set_exception(LogUnavailable("the event log is closing or has failed"))

    async def close(self) -> None:
        """Write the queue to its end."""
        if self._task is not None:
            await asyncio.wait((self._task,))


def _claim_new(events: Sequence[Event], new_ids: set[str]) -> Appended:
    """The new events; where an id appears more than once, only the first event with it is new."""
    new = []
    for event in events:
        if event.event_id in new_ids:
            new_ids.remove(event.event_id)
            new.append(event)
    return Appended(tuple(new), len(events) - len(new))
