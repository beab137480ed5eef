"""The HTTP server: uvicorn, configured from the settings."""

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from index.errors import InputError
from service.http.connection import ConnectionLimits, HttpConnection
from service.settings import Settings
from service.state import STATE

TICKS_PER_SECOND = 10  # of uvicorn
TICKS_PER_TIMEOUT_CHECK = 5
BACKLOG = 4_096


class Server(uvicorn.Server):
    """uvicorn that ends slow connections, may listen on an admin port, and reports not ready before it stops."""

    def __init__(self, config: uvicorn.Config, settings: Settings, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._settings = settings
        self._on_listening = on_listening

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM or SIGINT."""
        super().run(sockets or listeners(self._settings))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the application's lifespan, then listen."""
        await super().startup(sockets)
        self._on_listening()

    async def on_tick(self, counter: int) -> bool:
        self._check_timeouts(counter)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Report not ready for `drain_delay_s`, so that load balancers stop sending, then accept no more and stop."""
        service: Any = self.lifespan.state.get(STATE)
        if service is not None:
            service.draining = True
        for counter in range(round(self._settings.drain_delay_s * TICKS_PER_SECOND)):
            if not self.force_exit:
                self._check_timeouts(counter)
                await asyncio.sleep(1 / TICKS_PER_SECOND)
        await super().shutdown(sockets)

    def _check_timeouts(self, counter: int) -> None:
        if counter % TICKS_PER_TIMEOUT_CHECK:
            return
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            cast(HttpConnection, connection).enforce_timeouts(now)


def listeners(settings: Settings) -> list[socket.socket] | None:
    """Sockets for the public and the admin port; None where there is no admin port and uvicorn opens its own socket."""
    if settings.admin_port is None:
        return None
    return [_listen(settings.host, settings.port), _listen(settings.admin_host, settings.admin_port)]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}") from None


def make_server(app: ASGIApp, settings: Settings, *, on_listening: Callable[[], None] = lambda: None) -> Server:
    """A configured server, ready to `run()`."""
    limits = ConnectionLimits(
        max_in_flight=settings.max_in_flight,
        head_max_bytes=settings.head_max_bytes,
        read_timeout_s=settings.read_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        idle_s=settings.keep_alive_s,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=cast("type[HttpConnection]", partial(HttpConnection, limits=limits)),
        lifespan="on",
        workers=1,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=round(settings.drain_s),
        backlog=BACKLOG,
    )
    return Server(config, settings, on_listening)
