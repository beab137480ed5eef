"""Answers a scrape of any worker with the metrics of all: each of the others is asked, and adds its own.

What a worker has counted must not be lost with it, as a sum that falls looks like a restart to Prometheus. So each
snapshot that was shown is also a file, from which the successor of a worker that died goes on counting, and which
stands for one that does not reply in time.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from service.workers.merged_metrics import dump, load, merge, render, totals
from service.workers.siblings import Siblings

QUESTION = "metrics"
REPLY_S = 1.0  # a scrape waits so long for the other workers

log = structlog.get_logger()


class WorkersScrape:
    """The metrics of this worker, its predecessors of the same number, and the other workers."""

    def __init__(self, siblings: Siblings, registry: CollectorRegistry) -> None:
        self._siblings = siblings
        self._registry = registry
        self._predecessors = totals(self._last_snapshot(siblings.worker.number))
        siblings.handlers[QUESTION] = self._reply

    async def ask(self) -> Mapping[int, bytes | None]:
        """The metrics of the other workers, by number; None of one that does not reply in time."""
        return await self._siblings.ask(QUESTION, within_s=REPLY_S)

    def render(self, replies: Mapping[int, bytes | None]) -> bytes:
        """The text that Prometheus scrapes, of the others' replies and this worker's own metrics."""
        snapshots = [self._own(), *(self._snapshot(number, reply) for number, reply in replies.items())]
        n_silent = sum(reply is None for reply in replies.values())
        return render([*merge(snapshots), *self._about_workers(n_silent)])

    async def _reply(self, _: list[str]) -> bytes:
        return dump(self._own())

    def _own(self) -> list[Metric]:
        """This worker's metrics, which are also saved."""
        families = merge([self._registry.collect(), self._predecessors])
        path = self._path(self._siblings.worker.number)
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(dump(families))
            os.replace(temporary, path)
        except OSError as error:  # a later restart of this worker would begin at 0
            log.warning("metrics of this worker cannot be saved", error=str(error))
        return families

    def _snapshot(self, number: int, reply: bytes | None) -> Sequence[Metric]:
        if reply is None:
            return totals(self._last_snapshot(number))
        return load(reply)

    def _last_snapshot(self, number: int) -> list[Metric]:
        with suppress(OSError, ValueError):
            return load(self._path(number).read_bytes())
        return []

    def _path(self, number: int) -> Path:
        return self._siblings.worker.folder / f"{number}.metrics"

    def _about_workers(self, n_silent: int) -> list[Metric]:
        table = self._siblings.worker.memory.table
        ready = sum(table.is_ready(number) for number in range(table.n))
        restarts = CounterMetricFamily("reco_worker_restarts", "Workers that ended unexpectedly and were restarted.")
        restarts.add_metric([], sum(table.restarts()))
        return [
            GaugeMetricFamily("reco_workers", "Worker processes that are configured.", value=table.n),
            GaugeMetricFamily("reco_workers_ready", "Worker processes that serve.", value=ready),
            GaugeMetricFamily(
                "reco_workers_silent",
                "Workers that did not reply to this scrape in time; their counters are those of an earlier one.",
                value=n_silent,
            ),
            restarts,
        ]
