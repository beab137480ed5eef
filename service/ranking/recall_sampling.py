"""Samples the recall of the index that serves: some searches are also made exactly, in a thread that gives way.

Nothing is sampled while the index is exact. Only counts leave the sampler, and nothing leaves the process.
"""

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from index.item_index import ItemIndex
from index.recall import PROMISED_AT, OneSearch, hits_of, is_exact
from service.telemetry.metrics import RankingMetrics


class Sampling(NamedTuple):
    """Which searches of a bundle are sampled: each one asks `due`, and is offered if it is."""

    due: Callable[[], bool]
    offer: Callable[[OneSearch], None]


WAITING = 4  # samples at most; while they wait, further ones are dropped
BUSY_SHARE = 0.01  # of a core's time, at most: after each block of vectors the thread rests
LONGEST_REST_S = 60.0  # also where the machine was suspended during a block
LOWEST_PRIORITY = 19


class _Pace:
    """Rests after each piece of work, in proportion to its time."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._since = time.perf_counter()

    def __call__(self) -> bool:
        """Rest; False if the work should end."""
        worked_s = time.perf_counter() - self._since
        stopped = self._stopped.wait(min(LONGEST_REST_S, worked_s * (1 / BUSY_SHARE - 1)))
        self._since = time.perf_counter()
        return not stopped


class RecallSampler:
    """Counts hits of one in `every` searches of the bundle that serves; none where `every` is 0.

    All methods are for the event loop's thread.
    """

    def __init__(self, every: int, metrics: RankingMetrics, rng: random.Random) -> None:
        self._every = every
        self._metrics = metrics
        self._rng = rng
        self._left = 1  # searches until the next sample
        self._serving = ""
        self._replaced = threading.Event()
        self._waiting: asyncio.Queue[tuple[OneSearch, threading.Event]] = asyncio.Queue(WAITING)

    def sampling_of(self, bundle_id: str, index: ItemIndex) -> Sampling | None:
        """The sampling of a bundle's searches of this index, wherever it is; None where its recall needs none."""
        if not self._every or is_exact(index):
            return None
        return Sampling(partial(self._due, bundle_id), self._offer)

    def serve(self, bundle_id: str) -> None:
        """Sample the searches of this bundle only, and drop those of the one before."""
        self._serving = bundle_id
        self._replaced.set()
        self._replaced = threading.Event()
        while not self._waiting.empty():
            self._waiting.get_nowait()
            self._metrics.recall_samples.labels("dropped").inc()

    def _due(self, bundle_id: str) -> bool:
        self._left -= 1
        return self._left <= 0 and bundle_id == self._serving

    def _offer(self, search: OneSearch) -> None:
        self._left = self._rng.randrange(1, 2 * self._every)  # `every` on average: no period of the traffic fits it
        try:
            self._waiting.put_nowait((search, self._replaced))
        except asyncio.QueueFull:
            self._metrics.recall_samples.labels("dropped").inc()

    async def run(self) -> None:
        """Measure what was sampled, until cancelled."""
        thread = ThreadPoolExecutor(1, "recall", initializer=_give_way)
        try:
            while True:
                await self._measure_next(thread)
        finally:
            self._replaced.set()  # the thread ends after its block
            self._replaced = threading.Event()
            thread.shutdown(wait=False, cancel_futures=True)

    async def _measure_next(self, thread: ThreadPoolExecutor) -> None:
        work = partial(_measure, *await self._waiting.get())
        found = await asyncio.get_running_loop().run_in_executor(thread, work)
        self._metrics.recall_samples.labels("dropped" if found is None else "measured").inc()
        if found is not None:
            hits, possible = found
            self._metrics.recall_sampled_hits.inc(hits)
            self._metrics.recall_sampled_items.inc(possible)


def _measure(search: OneSearch, replaced: threading.Event) -> tuple[int, int] | None:
    """The hits and how many there could be; None where another bundle serves meanwhile."""
    return hits_of(search, at=PROMISED_AT, go_on=_Pace(replaced))


def _give_way() -> None:
    """Give the calling thread the lowest priority."""
    if sys.platform == "linux":  # elsewhere a thread's number may be the one of another process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
