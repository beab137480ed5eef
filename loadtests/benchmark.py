"""Asks the running servers, kind by kind in turn, and takes down what it cost."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from index.errors import InputError
from loadtests.bench_servers import BASELINE, BenchServers, cpu_seconds
from loadtests.load_client import LoadResult, closed_loop, open_arrivals, poisson_arrivals
from loadtests.load_summary import LoadMeasurement, LoadSummary, summarize
from loadtests.workloads import Workload

T = TypeVar("T")
SendRequests = Callable[[], LoadResult]

WARM_UP_S = 30.0
WARM_UP_CONNECTIONS = 16
PROBE_S = 0.5  # of a closed loop before and after open arrivals, to know what the server can do at that time
STEADY = 0.85  # the smaller of two speeds, or of two loads, over the larger: below, the machine has changed its speed


@dataclass(frozen=True)
class Pace:
    """How long one measurement takes, and how often each is made."""

    seconds: float
    rounds: int
    tries: int = 3  # times the rounds that are wanted, where the machine does not keep its speed


QUICK = Pace(seconds=0.3, rounds=1, tries=1)


@dataclass(frozen=True)
class OpenRound:
    """Open arrivals at a share of what the server could do just before, and what it could do just after."""

    measured: LoadMeasurement
    share: float
    before: float  # answers a second
    after: float

    @property
    def steady(self) -> bool:
        """Whether the load was what it was meant to be: as quick after as before, and busy for that share meanwhile."""
        return _alike(self.before, self.after) and _alike(self.measured.server_busy, self.share)


@dataclass(frozen=True)
class Benchmark:
    """Measures each workload once a round, so that what a ratio compares lies seconds apart."""

    servers: BenchServers
    workloads: tuple[Workload, ...]

    def warm_up(self) -> None:
        """Ask beforehand, so that Redis and the service's own caches hold what they will."""
        for workload in _shown(self.workloads, "warming up"):
            asked, port = iter(workload.warm_up), self.servers.children[workload.server].port
            with self.servers.awake(workload.server):
                closed_loop(port, asked, connections=WARM_UP_CONNECTIONS, seconds=WARM_UP_S)

    def closed(self, connections: int, pace: Pace) -> dict[str, LoadSummary]:
        """Figures of every workload in a closed loop, beside the yardstick."""
        taken = self._rounds(
            lambda workload: self._closed(workload, connections, pace.seconds),
            pace.rounds,
            f"{connections} connections",
        )
        return {name: summarize(measured, taken[BASELINE]) for name, measured in taken.items()}

    def open(
        self, rates: Mapping[str, float], connections: int, pace: Pace, rng: np.random.Generator
    ) -> dict[str, LoadSummary]:
        """Figures of every workload with Poisson arrivals at its rate, over at most so many connections."""
        taken = self._rounds(
            lambda workload: self._arriving(workload, rates[workload.name], pace.seconds, connections, rng),
            pace.rounds,
            "open arrivals",
        )
        return {name: summarize(measured) for name, measured in taken.items()}

    def loaded(
        self, share: float, connections: int, pace: Pace, rng: np.random.Generator
    ) -> dict[str, list[OpenRound]]:
        """Every workload with Poisson arrivals at this share of what a closed loop finds at that very time.

        In turn, until each has its steady rounds, or has had its tries. All are returned.
        """
        taken: dict[str, list[OpenRound]] = {workload.name: [] for workload in self.workloads}
        for number in range(1, pace.tries * pace.rounds + 1):
            lacking = [one for one in self.workloads if sum(done.steady for done in taken[one.name]) < pace.rounds]
            for workload in _shown(lacking, f"open arrivals, round {number}"):
                with self.servers.awake(workload.server):
                    taken[workload.name].append(self._loaded(workload, share, connections, pace.seconds, rng))
        return taken

    def _loaded(
        self, workload: Workload, share: float, connections: int, seconds: float, rng: np.random.Generator
    ) -> OpenRound:
        probe_s = min(PROBE_S, seconds)
        before = self._closed(workload, connections, probe_s).rate
        measured = self._arriving(workload, share * before, seconds, connections, rng)
        return OpenRound(measured, share, before, self._closed(workload, connections, probe_s).rate)

    def arrivals(
        self, workload: Workload, rate: float, seconds: float, connections: int, rng: np.random.Generator
    ) -> LoadMeasurement:
        """One workload once, with Poisson arrivals at this rate."""
        with self.servers.awake(workload.server):
            return self._arriving(workload, rate, seconds, connections, rng)

    def _rounds(
        self, measure: Callable[[Workload], LoadMeasurement], rounds: int, what: str
    ) -> dict[str, list[LoadMeasurement]]:
        taken: dict[str, list[LoadMeasurement]] = {workload.name: [] for workload in self.workloads}
        for workload in _shown(self.workloads * rounds, what):
            with self.servers.awake(workload.server):
                taken[workload.name].append(measure(workload))
        return taken

    def _closed(self, workload: Workload, connections: int, seconds: float) -> LoadMeasurement:
        port = self.servers.children[workload.server].port
        return self._measured(
            workload, lambda: closed_loop(port, workload.requests, connections=connections, seconds=seconds)
        )

    def _arriving(
        self, workload: Workload, rate: float, seconds: float, connections: int, rng: np.random.Generator
    ) -> LoadMeasurement:
        port, due = self.servers.children[workload.server].port, poisson_arrivals(rate, seconds, rng)
        return self._measured(workload, lambda: open_arrivals(port, workload.requests, due, connections=connections))

    def _measured(self, workload: Workload, asking: SendRequests) -> LoadMeasurement:
        cache = self.servers.empty_redis() if workload.cold else nullcontext()
        with cache, _no_collection():
            return self._taken_down(workload, asking)

    def _taken_down(self, workload: Workload, asking: SendRequests) -> LoadMeasurement:
        name = workload.server
        pid, reads = self.servers.children[name].pid, self.servers.redis_reads(name)
        server, client = cpu_seconds(pid), time.process_time()
        answers = asking()
        client, server = time.process_time() - client, cpu_seconds(pid) - server
        if not answers.latencies:
            raise InputError(
                f"{workload.name}: no good answer among {answers.failures}; expected a server that keeps up"
            )
        asked = {outcome: n - reads.get(outcome, 0) for outcome, n in self.servers.redis_reads(name).items()}
        return LoadMeasurement(
            latencies=np.array(answers.latencies),
            failures=answers.failures,
            seconds=answers.seconds,
            server_cpu=server,
            client_cpu=client - answers.idle,
            redis_reads=sum(asked.values()),
            redis_hits=asked.get("hit", 0),
            cached=answers.cached,
        )


def _alike(one: float, other: float) -> bool:
    return min(one, other) >= STEADY * max(one, other)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python collects no garbage meanwhile: the client would stand still for it, and the server be blamed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _shown(steps: Sequence[T], what: str) -> Sequence[T]:
    """The steps, with a progress bar beside them."""
    return track(steps, what, console=Console(stderr=True), transient=True)  # type: ignore[return-value]
