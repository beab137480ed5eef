"""Everything that runs: three replicas behind HAProxy, Redis under Sentinel, Prometheus where it is installed."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.processes import HOST, free_port
from deploy.prometheus_server import prometheus
from index.errors import InputError
from loadtests.rehearsal.controlled_process import ControlledProcess
from loadtests.rehearsal.monitoring import AlertView, ProxyView
from loadtests.rehearsal.redis_sentinel import SentinelRedis, sentinel_redis
from loadtests.rehearsal.sample_shop import SampleShop, arguments

HAPROXY_CFG = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
NAMES = ("one", "two", "three")  # as haproxy.cfg calls the replicas
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])  # as Debian has it
DRAIN_DELAY_S = 2.0
POLL_S = 0.05
START_S = 60.0
LOOKED_AT_EVERY = "2s"  # by Prometheus: a fault lasts seconds


@dataclass(frozen=True)
class Replica:
    """One process of the service."""

    process: ControlledProcess
    port: int

    def get(self, path: str, timeout_s: float = 2.0) -> httpx.Response:
        """Ask it past the proxy."""
        return httpx.get(f"http://{HOST}:{self.port}{path}", timeout=timeout_s)

    def bundle(self) -> str | None:
        """The bundle that it serves; None while it is not ready."""
        try:
            answer = self.get("/readyz")
        except httpx.TransportError:
            return None
        return str(answer.json()["bundle"]) if answer.status_code == httpx.codes.OK else None


@dataclass(frozen=True)
class Deployment:
    """What the faults are done to."""

    shop: SampleShop
    replicas: Mapping[str, Replica]
    redis: SentinelRedis
    proxy: ControlledProcess
    port: int  # of the proxy
    proxy_view: ProxyView
    alerts: AlertView

    def start(self) -> None:
        """Start everything, and return when it is whole."""
        self.redis.start()
        wait_for(self.redis.whole, "Redis with two replicas under Sentinel")
        for replica in self.replicas.values():
            replica.process.start()
        self.proxy.start()
        wait_for(self.whole, "three replicas behind the proxy", self.running)

    def whole(self) -> bool:
        """Every replica is ready and sent requests, and Redis is whole."""
        try:
            return self.proxy_view.up() == set(NAMES) and self.bundles() != {None} and self.redis.whole()
        except httpx.TransportError:
            return False

    def bundles(self) -> set[str | None]:
        """What the replicas serve; one value when they agree."""
        return {replica.bundle() for replica in self.replicas.values()}

    def running(self) -> None:
        """InputError, with its last words, where a process has ended."""
        for process in self.processes():
            assert process.pid

    def processes(self) -> list[ControlledProcess]:
        """All of them, in the order in which they are to end."""
        return [self.proxy, *(replica.process for replica in self.replicas.values()), *self.redis.processes()]

    def post(self, path: str, timeout_s: float = 120.0) -> httpx.Response:
        """Ask for something through the proxy, as an operator would."""
        return httpx.post(f"http://{HOST}:{self.port}{path}", timeout=timeout_s)

    def get(self, path: str) -> httpx.Response:
        """The same, to be told something."""
        return httpx.get(f"http://{HOST}:{self.port}{path}", timeout=10.0)


def wait_for(
    condition: Callable[[], bool], what: str, check: Callable[[], None] = lambda: None, seconds: float = START_S
) -> None:
    """Wait until it holds; InputError names what did not come."""
    end = time.monotonic() + seconds
    while not condition():
        check()
        if time.monotonic() > end:
            raise InputError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(POLL_S)


@contextmanager
def running(shop: SampleShop, folder: Path) -> Iterator[Deployment]:
    """The whole of it, started; ended when this ends, however it does. Logs stay in the folder."""
    redis = sentinel_redis(folder)
    replicas = {name: _replica(name, folder, shop, redis) for name in NAMES}
    ports = [replica.port for replica in replicas.values()]
    proxy, port, metrics = _haproxy(needed("haproxy"), folder, ports)
    with ExitStack() as stack:
        watcher = stack.enter_context(prometheus(ports, LOOKED_AT_EVERY)) if found("prometheus") else None
        topology = Deployment(shop, replicas, redis, proxy, port, ProxyView(metrics), AlertView(watcher))
        for process in topology.processes():
            stack.callback(process.kill)
        topology.start()
        yield topology


def _haproxy(program: str, folder: Path, ports: Sequence[int]) -> tuple[ControlledProcess, int, int]:
    """The process, its port for callers, and the one for its metrics."""
    port, metrics = free_port(), free_port()
    environment = {f"RECO_REPLICA_{i}": f"{HOST}:{one}" for i, one in enumerate(ports, start=1)}
    own = {"RECO_PROXY_BIND": f"{HOST}:{port}", "RECO_PROXY_METRICS": f"{HOST}:{metrics}"}
    command = [program, "-db", "-f", str(HAPROXY_CFG)]
    return ControlledProcess("haproxy", command, folder / "haproxy.log", os.environ | environment | own), port, metrics


def needed(program: str) -> str:
    """Its path; InputError says how to get it."""
    path = found(program)
    if path is None:
        raise InputError(f"{program} is not installed; expected it on the PATH: apt-get install {program}")
    return path


def found(program: str) -> str | None:
    """Its path, or None."""
    return shutil.which(program, path=PATH)


def _replica(name: str, folder: Path, shop: SampleShop, redis: SentinelRedis) -> Replica:
    port = free_port()
    settings = {
        "registry": shop.registry,
        "data": folder / "data",  # shared: whoever leads a retraining may be another than began it
        "port": port,
        "redis_url": redis.url,
        "event_log": "redis",
        "event_log_replicas": 1,  # an acknowledged event outlives its Redis
        "drain_delay_s": DRAIN_DELAY_S,
        "trusted_proxies": HOST,
        "admin_open": "true",
        "retrain_data": shop.data,
        "retrain_arguments": shlex.join(arguments()),
        "retrain_lease_s": 5,
        "gate": '{"metric_margin": 0.2}',  # so small a shop's figures waver from one training to the next
    }
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RECO_")}
    environment = clean | {f"RECO_{key.upper()}": str(value) for key, value in settings.items()}
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "service", "run"]
    return Replica(ControlledProcess(name, command, folder / f"{name}.log", environment | one_thread), port)
