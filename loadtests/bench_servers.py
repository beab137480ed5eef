"""Redis, the services and the yardstick as processes, those that answer on one core and everything else on another."""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import redis
from prometheus_client.parser import text_string_to_metric_families

from deploy.processes import SERVICE, Child, free_port, redis_server, server
from loadtests.baseline_app import PATH
from service.http.security.keys import new_key

WAKING_S = 0.2  # what was due meanwhile is done at once
BASELINE_MODULE = ("loadtests.baseline_app",)

# The names of what runs.
BASELINE = "empty"
SHIPPED = "shipped"  # the service with the settings it comes with
UNCACHED = "anew"  # the same without its cache of answers
BARE = "bare"  # the same without its memory of users either
NO_RESPONSE_CACHE = {"RECO_ANSWER_CACHE_MB": "0"}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    SHIPPED: {},
    UNCACHED: NO_RESPONSE_CACHE,
    BARE: {**NO_RESPONSE_CACHE, "RECO_PROFILE_CACHE_MB": "0"},
}


@dataclass(frozen=True)
class ApiKey:
    """An API key, and the file by which a service knows it."""

    key: str
    file: Path

    @classmethod
    def made(cls, file: Path) -> "ApiKey":
        """A new key that may read and send events; its line is written to the file."""
        key, line = new_key("bench", "write")
        file.write_text(line + "\n", encoding="utf-8")
        return cls(key, file)


@dataclass(frozen=True)
class Cores:
    """Which core answers and which one asks; the same where there is only one."""

    server: int
    client: int


@dataclass(frozen=True)
class BenchServers:
    """What is running, by name."""

    children: Mapping[str, Child]
    redis_address: str  # host and port; the services use its database 0
    spare: redis.Redis  # database 1 of it
    paused: frozenset[str] = frozenset()  # those that stand still while nobody asks them

    @contextmanager
    def pausing(self, names: Iterable[str]) -> Iterator["BenchServers"]:
        """The same servers, of which these stand still unless they are measured: some are never idle."""
        servers = replace(self, paused=frozenset(names))
        servers._signal(servers.paused, signal.SIGSTOP)
        try:
            yield servers
        finally:
            servers._signal(servers.paused, signal.SIGCONT)

    @contextmanager
    def awake(self, name: str) -> Iterator[None]:
        """This one running, with a moment for what it had to leave."""
        if name not in self.paused:
            yield
            return
        self._signal((name,), signal.SIGCONT)
        time.sleep(WAKING_S)
        try:
            yield
        finally:
            self._signal((name,), signal.SIGSTOP)

    def _signal(self, names: Iterable[str], number: signal.Signals) -> None:
        for name in names:
            os.killpg(self.children[name].pid, number)

    @contextmanager
    def empty_redis(self) -> Iterator[None]:
        """An empty Redis for a while, and afterwards the warm one as it was."""
        self.spare.swapdb(0, 1)
        try:
            yield
        finally:
            self.spare.swapdb(0, 1)
            self.spare.flushdb()

    def redis_reads(self, name: str) -> dict[str, float]:
        """How many vectors this service has asked of Redis so far, by outcome; nothing of what is no service."""
        return counted(self.children[name], "reco_redis_reads_total", "outcome") if name in SETTINGS else {}


@contextmanager
def running(registry: Path, cores: Cores, key: ApiKey, services: Iterable[str] = SETTINGS) -> Iterator[BenchServers]:
    """Redis, those services and the yardstick, ready; stopped at the end.

    From here to there this process keeps to the client's core.
    """
    with ExitStack() as stack:
        stack.enter_context(on_core(cores.client))
        url = stack.enter_context(redis_server()).connection_url
        with on_core(cores.server):
            children = {name: stack.enter_context(service(registry, url, key, name)) for name in services}
            baseline = server(BASELINE_MODULE, registry, free_port(), url, ready=PATH)
            children[BASELINE] = stack.enter_context(baseline)
        spare = stack.enter_context(redis.Redis.from_url(url, db=1))
        yield BenchServers(children, url.removeprefix("redis://"), spare)


@contextmanager
def service(registry: Path, redis_url: str, key: ApiKey, name: str = SHIPPED) -> Iterator[Child]:
    """A service that asks for the key, with events of its own; its client shows the key."""
    settings = {"RECO_API_KEYS_FILE": str(key.file), "RECO_DATA": str(registry / f"data-{name}"), **SETTINGS[name]}
    with server(SERVICE, registry, free_port(), redis_url, settings=settings) as child:
        child.client.headers["Authorization"] = f"Bearer {key.key}"
        yield child


def counted(service: Child, name: str, label: str) -> dict[str, float]:
    """What the service's own metrics say, by the value of a label."""
    text = service.client.get("/metrics").raise_for_status().text
    return {
        sample.labels[label]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def available_cores() -> Cores:
    """The first and the last core that this process may use."""
    cores = sorted(os.sched_getaffinity(0))
    return Cores(cores[0], cores[-1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this thread, and the processes that it starts meanwhile, to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and those it started have used, in steps of a hundredth of a second."""
    return sum(_own_cpu_seconds(process) for process in tree(pid))


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it started and that still run."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _own_cpu_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
