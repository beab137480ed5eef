"""The metrics that every group has: background tasks, and stored values that could not be read."""

from collections.abc import Sequence
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from pydantic import ValidationError

SOURCES = ("events", "items", "messages", "jobs", "rates")  # what other programs may also write to
WORKERS = (  # tasks that end when their work is done, and are started again for more
    "event_writer", "event_reader", "event_writer_discovery", "impressions", "message_sender",
    "item_writer", "item_writer_discovery",
    "vector_reader", "vector_writer", "redis_discovery", "known_bundles",
)  # fmt: skip
MOST_KINDS = 1_000  # logged; more are only counted

log = structlog.get_logger()


class UnreadableValues:
    """Counts values of a store that cannot be read, and logs the first one of each kind."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._logged: set[tuple[str, str]] = set()
        for source in SOURCES:
            counter.labels(source)

    def skip(self, source: str, error: Exception, **where: Any) -> None:
        """Count one value of `source` (one of SOURCES), which the caller leaves out."""
        self._counter.labels(source).inc()
        kind, detail = _kind_and_detail(error)
        if (source, kind) not in self._logged and len(self._logged) < MOST_KINDS:
            self._logged.add((source, kind))
            log.warning("stored value skipped, it cannot be read", source=source, kind=kind, error=detail, **where)


def _kind_and_detail(error: Exception) -> tuple[str, str]:
    if isinstance(error, ValidationError):  # without the input, which may be personal
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return first["type"], f"{_name(first['loc'])}: {first['msg']}"[:200]
    return type(error).__name__, str(error)[:200]


def _name(location: Sequence[int | str]) -> str:
    return ".".join(map(str, location)) or "value"


class TaskMetrics:
    """Background tasks, and stored values that could not be read. The base of all groups: anything may start a task."""

    def __init__(self, r: CollectorRegistry) -> None:
        self.task_up = Gauge(
            "reco_background_task_up",
            "1 while a background task runs; 0 from an unexpected end until it has run for some seconds again.",
            ["task"],
            registry=r,
        )
        self.task_failures = Counter(
            "reco_background_task_failures", "Unexpected ends of background tasks.", ["task"], registry=r
        )
        for worker in WORKERS:  # from 0, since Prometheus sees no increase in a series that starts at 1
            self.task_failures.labels(worker)
        self.failing_tasks: dict[str, str] = {}  # why each task that is not up ended, for /readyz
        self.unreadable = UnreadableValues(
            Counter(
                "reco_unreadable_values",
                f"Values that could not be read and were skipped: {', '.join(SOURCES)}.",
                ["source"],
                registry=r,
            )
        )

    def task_runs(self, task: str) -> None:
        """The task runs as it should."""
        self.failing_tasks.pop(task, None)
        self.task_up.labels(task).set(1)
        self.task_failures.labels(task)

    def task_failed(self, task: str, why: str) -> None:
        """The task ended unexpectedly."""
        self.failing_tasks[task] = why
        self.task_up.labels(task).set(0)
        self.task_failures.labels(task).inc()
