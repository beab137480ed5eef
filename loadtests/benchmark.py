"""Runs workloads against the benchmark's servers and measures rate, latency and CPU."""

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
from loadtests.bench_servers import BASELINE, RESUME_S, BenchServers, cpu_seconds
from loadtests.load_client import LoadResult, closed_loop, open_arrivals, poisson_arrivals
from loadtests.load_summary import LoadMeasurement, LoadSummary, summarize
from loadtests.workloads import Workload

T = TypeVar("T")
SendRequests = Callable[[], LoadResult]

WARM_UP_S = 30.0
WARM_UP_CONNECTIONS = 16
PROBE_S = 0.5  # of a closed loop before and after open arrivals, to measure the server's capacity at that time
STEADY = 0.85  # the smaller of two speeds, or loads, over the larger: below it the machine has changed its speed


@dataclass(frozen=True)
class Pace:
    """How long one measurement takes, and how often each is repeated."""

    seconds: float
    rounds: int
    tries: int = 3  # at most so many times `rounds`, on a machine that changes its speed
    resume_s: float = RESUME_S  # before a measurement, for a server that was suspended


QUICK = Pace(seconds=0.1, rounds=1, tries=1, resume_s=0.02)


@dataclass(frozen=True)
class OpenRound:
    """Open arrivals at a share of the server's capacity, which is measured shortly before and after."""

    measured: LoadMeasurement
    share: float
    before: float  # requests per second
    after: float

    @property
    def steady(self) -> bool:
        """Whether the load was as intended: equal capacity before and after, and a server that busy in between."""
        return _alike(self.before, self.after) and _alike(self.measured.server_busy, self.share)


@dataclass(frozen=True)
class Benchmark:
    """Measures each workload once per round, so that a ratio compares measurements only seconds apart."""

    servers: BenchServers
    workloads: tuple[Workload, ...]

    def warm_up(self) -> None:
        """Send the warm-up requests, so that Redis and the service's caches are filled."""
        for workload in _with_progress(self.workloads, "warming up"):
            requests, port = iter(workload.warm_up), self.servers.children[workload.server].port
            with self.servers.awake(workload.server):
                closed_loop(port, requests, connections=WARM_UP_CONNECTIONS, seconds=WARM_UP_S)
        gc.freeze()  # later collections need not visit modules and requests

    def closed(self, connections: int, pace: Pace) -> dict[str, LoadSummary]:
        """Measure every workload in a closed loop and compare it with the baseline."""
        measured = self._rounds(
            lambda workload: self._closed(workload, connections, pace.seconds),
            pace.rounds,
            f"{connections} connections",
        )
        return {name: summarize(rounds, measured[BASELINE]) for name, rounds in measured.items()}

    def open(
        self, rates: Mapping[str, float], connections: int, pace: Pace, rng: np.random.Generator
    ) -> dict[str, LoadSummary]:
        """Measure every workload with Poisson arrivals at its rate, over at most so many connections."""
        measured = self._rounds(
            lambda workload: self._open(workload, rates[workload.name], pace.seconds, connections, rng),
            pace.rounds,
            "open arrivals",
        )
        return {name: summarize(rounds) for name, rounds in measured.items()}

    def open_at_load(
        self, share: float, connections: int, pace: Pace, rng: np.random.Generator
    ) -> dict[str, list[OpenRound]]:
        """Measure every workload with Poisson arrivals at a share of the capacity that a closed loop finds just before.

        Workloads take turns until each has enough steady rounds or has used its tries. All rounds are returned.
        """
        measured: dict[str, list[OpenRound]] = {workload.name: [] for workload in self.workloads}
        for number in range(1, pace.tries * pace.rounds + 1):
            n_steady = {name: sum(one.steady for one in rounds) for name, rounds in measured.items()}
            unfinished = [one for one in self.workloads if n_steady[one.name] < pace.rounds]
            for workload in _with_progress(unfinished, f"open arrivals, round {number}"):
                with self.servers.awake(workload.server):
                    measured[workload.name].append(self._open_at_load(workload, share, connections, pace.seconds, rng))
        return measured

    def _open_at_load(
        self, workload: Workload, share: float, connections: int, seconds: float, rng: np.random.Generator
    ) -> OpenRound:
        probe_s = min(PROBE_S, seconds)
        before = self._closed(workload, connections, probe_s).rate
        measured = self._open(workload, share * before, seconds, connections, rng)
        return OpenRound(measured, share, before, self._closed(workload, connections, probe_s).rate)

    def open_once(
        self, workload: Workload, rate: float, seconds: float, connections: int, rng: np.random.Generator
    ) -> LoadMeasurement:
        """Measure one workload once, with Poisson arrivals at this rate."""
        with self.servers.awake(workload.server):
            return self._open(workload, rate, seconds, connections, rng)

    def _rounds(
        self, measure: Callable[[Workload], LoadMeasurement], rounds: int, what: str
    ) -> dict[str, list[LoadMeasurement]]:
        measured: dict[str, list[LoadMeasurement]] = {workload.name: [] for workload in self.workloads}
        for workload in _with_progress(self.workloads * rounds, what):
            with self.servers.awake(workload.server):
                measured[workload.name].append(measure(workload))
        return measured

    def _closed(self, workload: Workload, connections: int, seconds: float) -> LoadMeasurement:
        port = self.servers.children[workload.server].port
        return self._measure(
            workload, lambda: closed_loop(port, workload.requests, connections=connections, seconds=seconds)
        )

    def _open(
        self, workload: Workload, rate: float, seconds: float, connections: int, rng: np.random.Generator
    ) -> LoadMeasurement:
        port, due = self.servers.children[workload.server].port, poisson_arrivals(rate, seconds, rng)
        return self._measure(workload, lambda: open_arrivals(port, workload.requests, due, connections=connections))

    def _measure(self, workload: Workload, send: SendRequests) -> LoadMeasurement:
        cache = self.servers.empty_redis() if workload.cold else nullcontext()
        with cache, _no_garbage_collection():
            return self._with_counters(workload, send)

    def _with_counters(self, workload: Workload, send: SendRequests) -> LoadMeasurement:
        name = workload.server
        pid, reads = self.servers.children[name].pid, self.servers.redis_reads(name)
        server, client = cpu_seconds(pid), time.process_time()
        result = send()
        client, server = time.process_time() - client, cpu_seconds(pid) - server
        if not result.latencies:
            raise InputError(
                f"{workload.name}: no successful request, {result.failures} failures; expected a server that keeps up"
            )
        reads = {outcome: n - reads.get(outcome, 0) for outcome, n in self.servers.redis_reads(name).items()}
        return LoadMeasurement(
            latencies=np.array(result.latencies),
            failures=result.failures,
            seconds=result.seconds,
            server_cpu=server,
            client_cpu=client - result.idle,
            redis_reads=sum(reads.values()),
            redis_hits=reads.get("hit", 0),
            cached=result.cached,
        )


def _alike(one: float, other: float) -> bool:
    return min(one, other) >= STEADY * max(one, other)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's garbage collector from pausing the client, which would count as latency of the server."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _with_progress(steps: Sequence[T], what: str) -> Sequence[T]:
    return track(steps, what, console=Console(stderr=True), transient=True)  # type: ignore[return-value]
