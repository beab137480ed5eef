"""Many appends, one write: whatever waits is written together, so that one sync makes all of it durable."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import NamedTuple

from service.errors import ServiceError
from service.events.event import Event
from service.events.log import Appended, LogUnavailable, Overloaded
from service.telemetry.metrics import Metrics

MOST_TOGETHER = 4_096  # events a write: bounds how long the first of them waits for the last

Write = Callable[[list[Event]], Awaitable[list[str]]]
Tidy = Callable[[], Awaitable[None]]


class _Waiting(NamedTuple):
    events: Sequence[Event]
    done: "asyncio.Future[Appended]"


class GroupCommit:
    """Appends wait in a bounded queue; one task writes them, batch after batch.

    `write` makes the events durable and gives the ids of those that were new, or raises LogUnavailable and has
    promised nothing. `tidy` runs between writes, when nobody has to wait for it.
    """

    def __init__(self, write: Write, tidy: Tidy, metrics: Metrics, *, most_waiting: int) -> None:
        self._write = write
        self._tidy = tidy
        self._seconds = metrics.event_write_seconds
        self._most_waiting = most_waiting
        self._queue: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self.waiting = 0  # events, those being written included
        metrics.events_waiting.set_function(lambda: self.waiting)

    async def append(self, events: Sequence[Event]) -> Appended:
        """What became of the events, once they are durable; Overloaded where too many wait already."""
        if not events:
            return Appended((), 0)
        if self.waiting and self.waiting + len(events) > self._most_waiting:
            raise Overloaded(f"{self.waiting} events wait to be written, the limit is {self._most_waiting}")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(events, loop.create_future())
        self._queue.append(waiting)
        self.waiting += len(events)
        if self._task is None:
            # Outside the request that happens to start it: its log lines must not carry that request's id.
            self._task = loop.create_task(self._run(), context=Context())
        return await waiting.done

    async def _run(self) -> None:
        try:
            while self._queue:
                batch = self._take()
                try:
                    await self._commit(batch)
                finally:
                    self._release(batch)
                await self._tidy()
        finally:
            self._task = None
            self._release(list(self._queue))
            self._queue.clear()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].events) <= MOST_TOGETHER):
            batch.append(self._queue.popleft())
            size += len(batch[-1].events)
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            with self._seconds.time():
                new = set(await self._write([event for waiting in batch for event in waiting.events]))
        except ServiceError as error:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
            return
        for waiting in batch:
            appended = _claim(waiting.events, new)
            if not waiting.done.done():  # a caller may have gone
                waiting.done.set_result(appended)

    def _release(self, batch: list[_Waiting]) -> None:
        """Whatever ended the writing, nobody waits any longer."""
        for waiting in batch:
            self.waiting -= len(waiting.events)
            if not waiting.done.done():
                waiting.done.set_exception(LogUnavailable("the event log is closing or has failed"))

    async def close(self) -> None:
        """Write what waits."""
        if self._task is not None:
            await asyncio.wait((self._task,))


def _claim(events: Sequence[Event], new: set[str]) -> Appended:
    """Which of the events were new; an id is new once, for the first that brings it."""
    claimed = []
    for event in events:
        if event.event_id in new:
            new.remove(event.event_id)
            claimed.append(event)
    return Appended(tuple(claimed), len(events) - len(claimed))
