"""The rehearsal's deployment: three replicas behind HAProxy, Redis under Sentinel, Prometheus where installed."""

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
NAMES = ("one", "two", "three")  # of the replicas in haproxy.cfg
PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
)  # where Debian installs daemons
DRAIN_DELAY_S = 2.0
POLL_S = 0.05
START_S = 60.0
SCRAPE_INTERVAL = "2s"  # a fault lasts seconds


@dataclass(frozen=True)
class Replica:
    """One process of the service."""

    process: ControlledProcess
    port: int

    def get(self, path: str, timeout_s: float = 2.0) -> httpx.Response:
        """Send a request to this replica, without the proxy."""
        return httpx.get(f"http://{HOST}:{self.port}{path}", timeout=timeout_s)

    def bundle(self) -> str | None:
        """Return the bundle that the replica serves, or None while it is not ready."""
        try:
            response = self.get("/readyz")
        except httpx.TransportError:
            return None
        return str(response.json()["bundle"]) if response.status_code == httpx.codes.OK else None


@dataclass(frozen=True)
class Deployment:
    """The running processes that faults are injected into."""

    shop: SampleShop
    replicas: Mapping[str, Replica]
    redis: SentinelRedis
    proxy: ControlledProcess
    port: int  # of the proxy
    proxy_view: ProxyView
    alerts: AlertView

    def start(self) -> None:
        """Start everything and wait until it is healthy."""
        self.redis.start()
        wait_for(self.redis.is_whole, "Redis with two replicas under Sentinel")
        for replica in self.replicas.values():
            replica.process.start()
        self.proxy.start()
        wait_for(self.is_whole, "three replicas behind the proxy", self.check_running)

    def is_whole(self) -> bool:
        """Return whether every replica is ready and receives requests, and Redis is healthy."""
        try:
            return self.proxy_view.up() == set(NAMES) and self.bundles() != {None} and self.redis.is_whole()
        except httpx.TransportError:
            return False

    def bundles(self) -> set[str | None]:
        """Return the bundles that the replicas serve; one value when they agree."""
        return {replica.bundle() for replica in self.replicas.values()}

    def check_running(self) -> None:
        """Raise InputError where a process has ended."""
        for process in self.processes():
            assert process.pid

    def processes(self) -> list[ControlledProcess]:
        """Return all processes in the order in which they are stopped."""
        return [self.proxy, *(replica.process for replica in self.replicas.values()), *self.redis.processes()]

    def post(self, path: str, timeout_s: float = 120.0) -> httpx.Response:
        """Send a POST through the proxy."""
        return httpx.post(f"http://{HOST}:{self.port}{path}", timeout=timeout_s)

    def get(self, path: str) -> httpx.Response:
        """Send a GET through the proxy."""
        return httpx.get(f"http://{HOST}:{self.port}{path}", timeout=10.0)


def wait_for(
    condition: Callable[[], bool], what: str, check: Callable[[], None] = lambda: None, seconds: float = START_S
) -> None:
    """Poll the condition until it holds. InputError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        check()
        if time.monotonic() > end:
            raise InputError(f"timeout after {seconds:.0f} s of waiting for {what}")
        time.sleep(POLL_S)


@contextmanager
def running(shop: SampleShop, folder: Path) -> Iterator[Deployment]:
    """Start the deployment and stop it at the end. Logs stay in the folder."""
    redis = sentinel_redis(folder)
    replicas = {name: _replica(name, folder, shop, redis) for name in NAMES}
    ports = [replica.port for replica in replicas.values()]
    proxy, port, metrics = _haproxy(require("haproxy"), folder, ports)
    with ExitStack() as stack:
        client = stack.enter_context(prometheus(ports, SCRAPE_INTERVAL)) if find_program("prometheus") else None
        deployment = Deployment(shop, replicas, redis, proxy, port, ProxyView(metrics), AlertView(client))
        for process in deployment.processes():
            stack.callback(process.kill)
        deployment.start()
        yield deployment


def _haproxy(program: str, folder: Path, ports: Sequence[int]) -> tuple[ControlledProcess, int, int]:
    """Return the process, its port for callers, and its port for metrics."""
    port, metrics = free_port(), free_port()
    environment = {f"RECO_REPLICA_{i}": f"{HOST}:{one}" for i, one in enumerate(ports, start=1)}
    own = {"RECO_PROXY_BIND": f"{HOST}:{port}", "RECO_PROXY_METRICS": f"{HOST}:{metrics}"}
    command = [program, "-db", "-f", str(HAPROXY_CFG)]
    return ControlledProcess("haproxy", command, folder / "haproxy.log", os.environ | environment | own), port, metrics


def require(program: str) -> str:
    """Return the path of a program. InputError explains how to install it."""
    path = find_program(program)
    if path is None:
        raise InputError(f"{program} is not installed; expected it on the PATH: apt-get install {program}")
    return path


def find_program(program: str) -> str | None:
    """Return the path of a program, or None."""
    return shutil.which(program, path=PATH)


def _replica(name: str, folder: Path, shop: SampleShop, redis: SentinelRedis) -> Replica:
    port = free_port()
    settings = {
        "registry": shop.registry,
        "data": folder / "data",  # shared: the leader of a retraining may change
        "port": port,
        "redis_url": redis.url,
        "event_log": "redis",
        "event_log_replicas": 1,  # an acknowledged event survives the loss of the master
        "drain_delay_s": DRAIN_DELAY_S,
        "trusted_proxies": HOST,
        "admin_open": "true",
        "retrain_data": shop.data,
        "retrain_arguments": shlex.join(arguments()),
        "retrain_lease_s": 5,
        "gate": '{"metric_margin": 0.2}',  # the metrics of so small a shop vary between trainings
    }
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RECO_")}
    environment = clean | {f"RECO_{key.upper()}": str(value) for key, value in settings.items()}
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "service", "run"]
    return Replica(ControlledProcess(name, command, folder / f"{name}.log", environment | one_thread), port)
