"""The processes of a benchmark: the services and the baseline on one core, Redis and the client on another."""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import redis
from prometheus_client.parser import text_string_to_metric_families

from deploy.processes import SERVICE, Child, free_port, redis_server, server
from loadtests.baseline_app import PATH
from service.http.security.keys import new_key

RESUME_S = 0.2  # in which a resumed server catches up on work that was due
BASELINE_MODULE = ("loadtests.baseline_app",)

# The names of the servers.
BASELINE = "empty"
SHIPPED = "shipped"  # the service with its default settings
PROCESS_CPU_CLOCK = 2  # of clock_getcpuclockid(3): the clock id of a process is ~pid << 3 | 2
UNCACHED = "uncached"  # without the response cache
BARE = "bare"  # without the response cache and the profile cache
NO_RESPONSE_CACHE = {"RECO_ANSWER_CACHE_MB": "0"}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    SHIPPED: {},
    UNCACHED: NO_RESPONSE_CACHE,
    BARE: {**NO_RESPONSE_CACHE, "RECO_PROFILE_CACHE_MB": "0"},
}


@dataclass(frozen=True)
class BenchKey:
    """An API key, and the file from which the service reads it."""

    key: str
    file: Path

    @classmethod
    def create(cls, file: Path) -> "BenchKey":
        """Create a key that may read and send events, and write its line to the file."""
        key, line = new_key("bench", "write")
        file.write_text(line + "\n", encoding="utf-8")
        return cls(key, file)


@dataclass(frozen=True)
class Cores:
    """The cores of the servers and of the client; equal on a machine with one core."""

    server: int
    client: int


@dataclass(frozen=True)
class BenchServers:
    """The running servers by name, and their Redis."""

    children: Mapping[str, Child]
    redis_address: str  # host and port; the services use database 0
    spare: redis.Redis  # database 1
    paused: frozenset[str] = frozenset()  # servers that are suspended unless they are measured
    resume_s: float = RESUME_S

    @contextmanager
    def pausing(self, names: Iterable[str], resume_s: float = RESUME_S) -> Iterator["BenchServers"]:
        """Suspend these servers unless they are measured: an idle server still wakes up now and then."""
        servers = replace(self, paused=frozenset(names), resume_s=resume_s)
        servers._signal(servers.paused, signal.SIGSTOP)
        try:
            yield servers
        finally:
            servers._signal(servers.paused, signal.SIGCONT)

    @contextmanager
    def awake(self, name: str) -> Iterator[None]:
        """Resume this server for a while, if it is suspended."""
        if name not in self.paused:
            yield
            return
        self._signal((name,), signal.SIGCONT)
        time.sleep(self.resume_s)
        try:
            yield
        finally:
            self._signal((name,), signal.SIGSTOP)

    def _signal(self, names: Iterable[str], number: signal.Signals) -> None:
        for name in names:
            os.killpg(self.children[name].pid, number)

    @contextmanager
    def empty_redis(self) -> Iterator[None]:
        """Replace the contents of Redis by an empty database, and restore them afterwards."""
        self.spare.swapdb(0, 1)
        try:
            yield
        finally:
            self.spare.swapdb(0, 1)
            self.spare.flushdb()

    def redis_reads(self, name: str) -> dict[str, float]:
        """Return the service's total reads from Redis by outcome; empty for a server that is not our service."""
        return read_counters(self.children[name], "reco_redis_reads_total", "outcome") if name in SETTINGS else {}


@contextmanager
def running(
    registry: Path, cores: Cores, key: BenchKey, services: Iterable[str] = SETTINGS, *, baseline: bool = True
) -> Iterator[BenchServers]:
    """Run Redis, these services and the baseline, and yield them once they are ready.

    Meanwhile this process runs on the client's core.
    """
    with ExitStack() as stack:
        stack.enter_context(on_core(cores.client))
        url = stack.enter_context(redis_server()).connection_url
        with on_core(cores.server):
            children = {name: stack.enter_context(service(registry, url, key, name)) for name in services}
            if baseline:
                empty = server(BASELINE_MODULE, registry, free_port(), url, ready=PATH)
                children[BASELINE] = stack.enter_context(empty)
        spare = stack.enter_context(redis.Redis.from_url(url, db=1))
        yield BenchServers(children, url.removeprefix("redis://"), spare)


@contextmanager
def service(registry: Path, redis_url: str, key: BenchKey, name: str = SHIPPED) -> Iterator[Child]:
    """Run a service that requires the key and has its own event log; its client sends the key."""
    settings = {"RECO_API_KEYS_FILE": str(key.file), "RECO_DATA": str(registry / f"data-{name}"), **SETTINGS[name]}
    with server(SERVICE, registry, free_port(), redis_url, settings=settings) as child:
        child.client.headers["Authorization"] = f"Bearer {key.key}"
        yield child


def read_counters(service: Child, name: str, label: str) -> dict[str, float]:
    """Return the values of one of the service's metrics by the value of a label."""
    lines = service.client.get("/metrics").raise_for_status().text.splitlines(keepends=True)
    text = "".join(line for line in lines if line.startswith(name))
    return {
        sample.labels[label]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def available_cores() -> Cores:
    """Return the first and the last core that this process may use."""
    cores = sorted(os.sched_getaffinity(0))
    return Cores(cores[0], cores[-1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run this thread, and the processes that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants."""
    root = psutil.Process(pid)
    return sum(_own_cpu_seconds(process) for process in [root, *root.children(recursive=True)])


def _own_cpu_seconds(process: psutil.Process) -> float:
    """From the CPU clock, in nanoseconds; /proc counts ticks of 10 ms, which is too coarse for short rounds."""
    try:
        return time.clock_gettime(~process.pid << 3 | PROCESS_CPU_CLOCK)
    except OSError:  # it has ended
        return 0.0
