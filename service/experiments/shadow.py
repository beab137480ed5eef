"""Answers some requests a second time from the shadow's bundle, after their answers were sent, and compares both."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from zlib import crc32

import orjson
import structlog

from service.bundles.loaded import LoadedBundle
from service.bundles.warmup import Replayed
from service.experiments.arms import Arms
from service.experiments.shadow_summary import ShadowSummary
from service.experiments.shadow_tally import Compared, Listing, ShadowTally
from service.ranking.turns import ITERATIONS
from service.telemetry.metrics import ExperimentMetrics
from service.workers.siblings import Siblings

SHADOW_TALLIES = "shadow"  # the kind of question between workers
MOST_WAITING = 16  # requests; while they wait, further ones are dropped
LONGEST_WAIT_S = 1.0  # of a request, until it is dropped
BUSY_S = 0.005  # until it is checked again whether the service is still busy
LONGEST_ANSWER_S = 5.0
LEAST_REST_S = 0.001  # between two requests
MOST_TALLIES = 4  # pairs of bundles; the oldest is dropped
LOG_EVERY_S = 60.0  # errors, at most
WORKERS_S = 2.0  # the other workers' tallies are waited for
OUTCOMES = ("compared", "dropped", "error")
HASHES = 1 << 32  # of crc32

log = structlog.get_logger()

ReplayFrom = Callable[[LoadedBundle], Awaitable[Replayed]]


class _Offered(NamedTuple):
    """A request that was answered, and what was shown. It refers to no loaded bundle."""

    which: Compared
    replay: ReplayFrom
    shown: bytes  # the answer's JSON after its opening brace
    seconds: float  # that the answer took to compute
    at: float


class ShadowComparison:
    """Compares the shadow of the running experiment with what is shown, while the service has nothing else to do.

    A bounded share of requests is answered again, one at a time, and only while no request is in flight; those that
    would wait for long are dropped and counted. Nothing of it reaches a caller, an impression, the response cache or
    the traffic that the canary judges. The tallies are those of this process, until it ends.
    """

    def __init__(
        self,
        arms: Arms,
        metrics: ExperimentMetrics,
        siblings: Siblings | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.in_flight: Callable[[], int] = lambda: 0  # set by the server: how many requests it answers now
        self._arms = arms
        self._metrics = metrics
        self._counts = {outcome: metrics.shadow_requests.labels(outcome) for outcome in OUTCOMES}
        self._siblings = siblings
        self._clock = clock
        self._waiting: asyncio.Queue[_Offered] = asyncio.Queue(MOST_WAITING)
        self._tallies: dict[Compared, ShadowTally] = {}  # the oldest first
        self._logged_at = -LOG_EVERY_S
        if siblings is not None:
            siblings.handlers[SHADOW_TALLIES] = self._dump

    def takes(self, request_id: str) -> bool:
        """Whether the shadow is to answer the request of this id: always the same of equal ids, for its share of them.

        Only while there is a shadow, `arms.shadow`.
        """
        experiment = self._arms.experiment
        if experiment is None or experiment.shadow is None:
            return False
        return crc32(request_id.encode()) < experiment.shadow.share * HASHES

    def offer(self, shown_bundle: str, replay: ReplayFrom, shown: bytes, seconds: float) -> None:
        """Compare an answer with that of the shadow, later.

        shown_bundle: the id of the bundle that answered. replay: answers the request from another. shown: the answer's
        JSON after its opening brace. seconds: that it took to compute.
        """
        experiment, slot = self._arms.experiment, self._arms.shadow
        if experiment is None or slot is None:
            return
        offered = _Offered(
            Compared(experiment.name, slot.bundle_id, shown_bundle), replay, shown, seconds, self._clock()
        )
        try:
            self._waiting.put_nowait(offered)
        except asyncio.QueueFull:
            self._drop(offered)

    async def run(self) -> None:
        """Answer what was offered, until cancelled."""
        while True:
            offered = await self._waiting.get()
            if await self._is_quiet(until=offered.at + LONGEST_WAIT_S):
                started = self._clock()
                await self._compare(offered)
                await asyncio.sleep(max(self._clock() - started, LEAST_REST_S))  # half of the time is the callers'
            else:
                self._drop(offered)

    async def _is_quiet(self, until: float) -> bool:
        """Wait until no request is in flight, nor arrives in a few iterations of the loop; False if that takes long."""
        while self._clock() < until:
            if not self.in_flight():
                for _ in range(ITERATIONS):
                    await asyncio.sleep(0)
                if not self.in_flight():
                    return True
            await asyncio.sleep(BUSY_S)
        return False

    async def _compare(self, offered: _Offered) -> None:
        slot, tally = self._arms.shadow, self._tally(offered.which)
        if slot is None or slot.bundle_id != offered.which.bundle:  # another one since
            self._drop(offered)
            return
        try:
            shown = Listing.parse(offered.shown, offered.seconds)
            if not shown.item_ids:
                return
            async with asyncio.timeout(LONGEST_ANSWER_S):
                replayed = await offered.replay(slot.loaded)
            overlap = tally.add(shown, Listing.parse(replayed.rendered, replayed.seconds))
        except Exception as error:  # a shadow that fails must not end the task, nor anything that is shown
            tally.errors += 1
            self._counts["error"].inc()
            self._log(offered.which, error)
            return
        self._counts["compared"].inc()
        self._metrics.shadow_overlap.observe(overlap)
        self._metrics.shadow_seconds.observe(replayed.seconds)

    def _drop(self, offered: _Offered) -> None:
        self._tally(offered.which).dropped += 1
        self._counts["dropped"].inc()

    def _tally(self, which: Compared) -> ShadowTally:
        tally = self._tallies.get(which)
        if tally is None:
            if len(self._tallies) == MOST_TALLIES:
                del self._tallies[next(iter(self._tallies))]
            tally = self._tallies[which] = ShadowTally()
        return tally

    def _log(self, which: Compared, error: Exception) -> None:
        if self._clock() - self._logged_at >= LOG_EVERY_S:
            self._logged_at = self._clock()
            log.warning("the shadow failed to answer", bundle=which.bundle, error=repr(error)[:300])

    async def summaries(self, experiment: str) -> list[ShadowSummary]:
        """Each comparison of this experiment, the latest last, by all workers of this machine that reply in time.

        Empty where this process has compared nothing since it started.
        """
        own = {which: ShadowTally.of_record(tally.record()) for which, tally in self._tallies.items()}
        replies = await self._siblings.ask(SHADOW_TALLIES, within_s=WORKERS_S) if self._siblings is not None else {}
        for reply in filter(None, replies.values()):
            for which, record in orjson.loads(reply):
                own.setdefault(Compared(*which), ShadowTally()).merge(ShadowTally.of_record(record))
        missing = sum(reply is None for reply in replies.values())
        return [tally.summary(which, missing) for which, tally in own.items() if which.experiment == experiment]

    async def _dump(self, _: list[str]) -> bytes:
        """The tallies of this worker, for another one."""
        return orjson.dumps([((*which,), tally.record()) for which, tally in self._tallies.items()])
