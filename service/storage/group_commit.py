"""Group commit: writes that wait are done together, so that one sync makes all of them durable."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sized
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from prometheus_client import Gauge, Histogram

from service.background import start_worker
from service.errors import ServiceError
from service.storage.unavailable import Overloaded, StoreUnavailable
from service.telemetry.task_metrics import TaskMetrics

MOST_TOGETHER = 4_096  # entries a write; bounds how long the first one waits for the last

W = TypeVar("W", bound=Sized)  # the entries of one caller
R = TypeVar("R")  # what the caller gets

Tidy = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class CommitNames:
    """What is written, and where it is counted."""

    entries: str  # "events"
    store: str  # "event log"
    task: str  # of the background task
    unavailable: type[StoreUnavailable]


class _Pending(NamedTuple, Generic[W, R]):
    entries: W
    done: "asyncio.Future[R]"


class GroupCommit(Generic[W, R]):
    """Queues writes, up to a limit of entries, and does them batch by batch in one task.

    `write` makes a batch durable and returns the outcome of each caller, which may be an error of that one alone; or it
    raises a ServiceError and acknowledges none. `tidy` runs between writes.
    """

    def __init__(
        self,
        write: Callable[[list[W]], Awaitable[list[R | ServiceError]]],
        tidy: Tidy,
        names: CommitNames,
        metrics: TaskMetrics,
        *,
        seconds: Histogram,
        waiting: Gauge,
        most_waiting: int,
    ) -> None:
        self._write = write
        self._tidy = tidy
        self._names = names
        self._metrics = metrics
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._queue: deque[_Pending[W, R]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.n_waiting = 0  # entries, those being written included
        self.problem: str | None = None  # why the last write failed; None once one has succeeded
        waiting.set_function(lambda: self.n_waiting)

    async def commit(self, entries: W) -> R:
        """Return once the entries are durable; Overloaded where too many wait."""
        if self.n_waiting and self.n_waiting + len(entries) > self._most_waiting:
            raise Overloaded(
                f"{self.n_waiting} {self._names.entries} wait to be written, the limit is {self._most_waiting}"
            )
        loop = asyncio.get_running_loop()
        pending: _Pending[W, R] = _Pending(entries, loop.create_future())
        self._queue.append(pending)
        self.n_waiting += len(entries)
        if self._task is None:
            self._task = start_worker(self._metrics, self._names.task, self._write_queue())
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

    def _next_batch(self) -> list[_Pending[W, R]]:
        batch: list[_Pending[W, R]] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].entries) <= MOST_TOGETHER):
            batch.append(self._queue.popleft())
            size += len(batch[-1].entries)
        return batch

    async def _commit(self, batch: list[_Pending[W, R]]) -> None:
        outcomes: list[R | ServiceError]
        try:
            with self._seconds.time():
                outcomes = await self._write([pending.entries for pending in batch])
            self.problem = None
        except ServiceError as error:
            self.problem = error.detail
            outcomes = [error] * len(batch)
        for pending, outcome in zip(batch, outcomes, strict=True):
            if pending.done.done():  # the caller has disconnected
                continue
            if isinstance(outcome, ServiceError):
                pending.done.set_exception(outcome)
            else:
                pending.done.set_result(outcome)

    def _release(self, batch: list[_Pending[W, R]]) -> None:
        """Fail what was not written: when the task ends for any reason, no caller may wait for it."""
        for pending in batch:
            self.n_waiting -= len(pending.entries)
            if not pending.done.done():
                pending.done.set_exception(self._names.unavailable(f"the {self._names.store} is closing or has failed"))

    async def close(self) -> None:
        """Write the queue to its end."""
        if self._task is not None:
            await asyncio.wait((self._task,))
