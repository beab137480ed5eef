"""Redis, the service and the yardstick as processes, the servers on one core and everything else on another."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack import SERVICE, Child, free_port, redis_server, server
from loadtests.yardstick import PATH

YARDSTICK_MODULE = ("loadtests.yardstick",)


@dataclass(frozen=True)
class Cores:
    """Which core answers and which one asks; the same where there is only one."""

    server: int
    client: int


@dataclass(frozen=True)
class Servers:
    """What is running."""

    service: Child
    yardstick: Child
    spare: redis.Redis  # database 1 of the Redis whose database 0 the service uses

    @contextmanager
    def cold_cache(self) -> Iterator[None]:
        """An empty Redis for a while, and afterwards the warm one as it was."""
        self.spare.swapdb(0, 1)
        try:
            yield
        finally:
            self.spare.swapdb(0, 1)
            self.spare.flushdb()

    def redis_reads(self) -> dict[str, float]:
        """How many vectors the service has asked of Redis so far, by outcome."""
        text = self.service.client.get("/metrics").text
        return {
            sample.labels["outcome"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "reco_redis_reads_total"
        }


@contextmanager
def running(registry: Path, cores: Cores) -> Iterator[Servers]:
    """All three, ready; stopped at the end. From here to there this process keeps to the client's core."""
    with ExitStack() as stack:
        stack.enter_context(on_core(cores.client))
        valkey = stack.enter_context(redis_server())
        url = valkey.connection_url
        with on_core(cores.server):
            service = stack.enter_context(server(SERVICE, registry, free_port(), url))
            yardstick = stack.enter_context(server(YARDSTICK_MODULE, registry, free_port(), url, ready=PATH))
        spare = stack.enter_context(redis.Redis.from_url(url, db=1))
        yield Servers(service, yardstick, spare)


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
    """CPU time that a process has used, in steps of a hundredth of a second."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
