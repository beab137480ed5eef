"""Supervises background tasks: an unexpected end is logged, counted, shown in /readyz and followed by a restart."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from service.telemetry.task_metrics import TaskMetrics

FIRST_S = 0.5  # from the first unexpected end to the restart; doubled at each further one
MAX_S = 60.0  # the longest wait; a task that ran for longer starts again at FIRST_S
STEADY_S = 5.0  # how long a restarted task must run until it counts as up

Work = Callable[[], Coroutine[Any, Any, None]]

log = structlog.get_logger()


@asynccontextmanager
async def supervised(metrics: TaskMetrics, work: Mapping[str, Work]) -> AsyncIterator[None]:
    """Keep these tasks running, by name, while the context is open. None of them may end by itself."""
    supervisors = [_Supervisor(name, start, metrics) for name, start in work.items()]
    for name in work:
        metrics.task_runs(name)
    tasks = [asyncio.create_task(supervisor.run(), name=supervisor.name) for supervisor in supervisors]
    try:
        yield
    finally:
        for supervisor, task in zip(supervisors, tasks, strict=True):
            supervisor.closing = True
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class _Supervisor:
    """Runs one task again and again."""

    name: str
    start: Work
    metrics: TaskMetrics
    closing: bool = False
    failures: int = 0  # in a row

    async def run(self) -> None:
        wait_s = 0.0
        while not self.closing:
            started = time.monotonic()
            try:
                await asyncio.sleep(wait_s)
                started = time.monotonic()
                await self._run_once()
                error: BaseException | None = None
            except (KeyboardInterrupt, SystemExit, GeneratorExit):
                raise
            except asyncio.CancelledError as cancelled:
                if self.closing:
                    raise
                error = cancelled  # not by us: nothing else may end the task
                _clear_cancellation()
            except BaseException as unexpected:  # panics of libraries in Rust are no Exception
                error = unexpected
            wait_s = self._record_end(error, time.monotonic() - started)

    async def _run_once(self) -> None:
        recovery = None
        if self.failures:
            recovery = asyncio.get_running_loop().call_later(STEADY_S, self.metrics.task_runs, self.name)
        try:
            await self.start()
        finally:
            if recovery is not None:
                recovery.cancel()

    def _record_end(self, error: BaseException | None, ran_s: float) -> float:
        """Log and count the end; return the seconds until the restart."""
        self.failures = 1 if ran_s > MAX_S else self.failures + 1
        wait_s = min(MAX_S, FIRST_S * 2.0 ** min(self.failures - 1, 30))
        record_failure(self.metrics, self.name, error, restart_in_s=wait_s)
        return wait_s


def _clear_cancellation() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def start_worker(metrics: TaskMetrics, name: str, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """Start a task that ends when its work is done and is started again for more; a failure is logged and counted.

    It has a context of its own, so that its log lines do not carry the id of the request that starts it.
    """
    task = asyncio.get_running_loop().create_task(work, context=Context())
    task.add_done_callback(partial(_check_worker, metrics, name))
    return task


def _check_worker(metrics: TaskMetrics, name: str, task: "asyncio.Task[Any]") -> None:
    if task.cancelled():  # by its owner, which closes
        return
    error = task.exception()
    if error is None:
        if name in metrics.failing_tasks:
            metrics.task_runs(name)
        return
    record_failure(metrics, name, error)


def record_failure(metrics: TaskMetrics, name: str, error: BaseException | None, **facts: Any) -> None:
    """Log an unexpected end with its traceback, count it, and show it until the task runs again."""
    metrics.task_failed(name, "it returned" if error is None else type(error).__name__)
    with suppress(Exception):  # a full disk under the log must not end the supervision
        log.error("background task ended unexpectedly", task=name, exc_info=error or False, **facts)
