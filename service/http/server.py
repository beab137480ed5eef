"""The HTTP server: uvicorn, configured from the settings."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from index.bundle import Bundle
from index.errors import InputError
from service.background import supervised
from service.http.connection import HttpConnection
from service.http.forwarded import ForwardedMiddleware
from service.http.load import ConnectionLimits, Load
from service.http.open_files import allow_connections
from service.settings import Settings
from service.state import STATE, Service

TICKS_PER_SECOND = 10  # of uvicorn
TIMEOUT_CHECK_S = 0.5
BACKLOG = 4_096
PUBLIC_PORT = "RECO_PORT or --port"


class Server(uvicorn.Server):
    """uvicorn that ends slow connections, may listen on an admin port, and reports not ready before it stops."""

    def __init__(
        self, config: uvicorn.Config, settings: Settings, load: Load, on_listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._load = load
        self._on_listening = on_listening
        self._background = AsyncExitStack()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM or SIGINT."""
        super().run(sockets or listeners(self._settings))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the application's lifespan, then listen."""
        await super().startup(sockets)
        if self._service is not None:
            self._load.show(self._service.metrics)
            self._service.shadow.in_flight = lambda: len(self._load.in_flight)
            work = {"timeouts": self._enforce_timeouts_forever}
            await self._background.enter_async_context(supervised(self._service.metrics, work))
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Report not ready for `drain_delay_s`, so that load balancers stop sending, then accept no more and stop."""
        if self._service is not None:
            self._service.draining = True
        for _ in range(round(self._settings.drain_delay_s * TICKS_PER_SECOND)):
            if not self.force_exit:
                await asyncio.sleep(1 / TICKS_PER_SECOND)
        await super().shutdown(sockets)
        await self._background.aclose()

    @property
    def served(self) -> Bundle | None:
        """The bundle that serves; None where the application did not start."""
        return None if self._service is None else self._service.current.loaded.bundle

    @property
    def port(self) -> int | None:
        """The port that listens, also where the settings leave the choice to the system; None before it does."""
        sockets = [one for server in self.servers for one in server.sockets] if self.started else []
        return int(sockets[0].getsockname()[1]) if sockets else None

    @property
    def _service(self) -> Service | None:
        return cast("Service | None", self.lifespan.state.get(STATE))

    async def _enforce_timeouts_forever(self) -> None:
        """Beside uvicorn's main loop, which must not end by what a connection does."""
        while True:
            await asyncio.sleep(TIMEOUT_CHECK_S)
            self._load.enforce_timeouts(asyncio.get_running_loop().time())


def listeners(settings: Settings) -> list[socket.socket] | None:
    """Sockets for the public and the admin port; None where there is no admin port and uvicorn opens its own socket.

    InputError where a port is taken.
    """
    if settings.admin_port is None:
        _check_free(settings.host, settings.port)
        return None
    public = _listen(settings.host, settings.port)
    return [public, _listen(settings.admin_host, settings.admin_port, "RECO_ADMIN_PORT")]


def worker_listeners(settings: Settings, n_workers: int) -> list[list[socket.socket]]:
    """For each worker a socket of its own on the public port and on the admin port, if any.

    The kernel spreads connections over them. They listen once their worker serves. InputError where a port is taken.
    """
    by_port = [_shared_sockets(settings.host, settings.port, n_workers)]
    if settings.admin_port is not None:
        by_port.append(_shared_sockets(settings.admin_host, settings.admin_port, n_workers, "RECO_ADMIN_PORT"))
    return [list(of_worker) for of_worker in zip(*by_port, strict=True)]


def _shared_sockets(host: str, port: int, n: int, chosen_by: str = PUBLIC_PORT) -> list[socket.socket]:
    _listen(host, port, chosen_by).close()  # fails where another service has the port, which a shared one would not
    sockets: list[socket.socket] = []
    for _ in range(n):
        one = socket.socket(_family(host), socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, port))
        port = one.getsockname()[1]  # port 0: the one that the first socket was given
        sockets.append(one)
    return sockets


def _check_free(host: str, port: int) -> None:
    """InputError where uvicorn could not listen, which would tell so in its log alone. It binds without listening."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _cannot_listen(host, port, error, PUBLIC_PORT) from None


def _listen(host: str, port: int, chosen_by: str = PUBLIC_PORT) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(host, port, error, chosen_by) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _cannot_listen(host: str, port: int, error: OSError, chosen_by: str) -> InputError:
    # Python adds the address to the text of an error, but not to that of a name without one, whose number is no errno.
    reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    other = f"; {chosen_by} names another" if error.errno == errno.EADDRINUSE else ""
    return InputError(f"cannot listen on {host} port {port}: {reason}{other}")


def make_server(app: ASGIApp, settings: Settings, *, on_listening: Callable[[], None] = lambda: None) -> Server:
    """A configured server, ready to `run()`; InputError where the process may open too few files."""
    limits = ConnectionLimits(
        max_connections=allow_connections(settings.max_connections, 1 if settings.admin_port is None else 2),
        max_in_flight=settings.max_in_flight,
        max_body_bytes=settings.max_in_flight * settings.body_max_bytes,  # as much as requests in flight may hold
        head_max_bytes=settings.head_max_bytes,
        body_max_bytes=settings.body_max_bytes,
        read_timeout_s=settings.read_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        idle_s=settings.keep_alive_s,
    )
    load = Load(limits)
    config = uvicorn.Config(
        ForwardedMiddleware(app, settings.trusted_proxies) if settings.trusted_proxies else app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=cast("type[HttpConnection]", partial(HttpConnection, load=load)),
        ws="none",
        lifespan="on",
        workers=1,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # ours compares addresses in every spelling
        timeout_graceful_shutdown=round(settings.drain_s),
        backlog=BACKLOG,
    )
    return Server(config, settings, load, on_listening)
