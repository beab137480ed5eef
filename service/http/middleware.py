"""The outermost middleware: gives each request an id, times and counts it, and turns every error into a response."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import REQUEST_ID, TIMED_OUT, ServiceError, ShedError, describe, error_body
from service.http.sending import JSON, send_body
from service.telemetry import logs
from service.telemetry.fast_metrics import HttpMetrics, route_of
from service.telemetry.timings import ARM, TIMINGS, Timings

if TYPE_CHECKING:  # comes with an extra
    from service.telemetry.tracing import Traces

VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
MAX_LOGGED_PATH_CHARS = 200
NO_STORE = (b"cache-control", b"no-store")  # responses are personal
SECURE_HEADERS = (  # and no pages
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

log = structlog.get_logger()


@dataclass
class ObservabilityMiddleware:
    """Plain ASGI middleware; it costs a request one counter, and one histogram observation for each stage."""

    app: ASGIApp
    metrics: HttpMetrics
    traces: "Traces | None" = None
    clock: Callable[[], float] = time.perf_counter
    new_request_id: Callable[[], str] = lambda: secrets.token_hex(16)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, Timings(self.clock), self._request_id(scope), self.metrics)
        try:
            await self.app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            if TIMED_OUT not in scope:
                raise
            await exchange.fail(_timeout_error(scope))
        except Exception as error:  # the outermost edge: every failure gets a response
            await exchange.fail(error)
        finally:
            self._observe(scope, exchange)

    def _request_id(self, scope: Scope) -> str:
        received = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        return received.decode() if VALID_REQUEST_ID.fullmatch(received) else self.new_request_id()

    def _observe(self, scope: Scope, exchange: "_Exchange") -> None:
        route = route_of(scope)
        seconds = self.clock() - exchange.timings.start
        self.metrics.route(scope["method"], route, exchange.status).observe(seconds)
        for stage, spent in exchange.timings.marks:
            self.metrics.timings.labels(stage).observe(spent)
        if self.traces is not None:
            self.traces.record(scope, exchange.timings, exchange.status)
        log.debug(
            "request",
            method=scope["method"],
            path=scope["path"][:MAX_LOGGED_PATH_CHARS],
            status=exchange.status,
            seconds=round(seconds, 6),
            **scope.get(ARM, {}),
        )


def _timeout_error(scope: Scope) -> ServiceError:
    """The error of a request that was cancelled by a timeout; its task may then go on to respond."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    error: ServiceError = scope[TIMED_OUT]
    return error


class _Exchange:
    """One request and its response in the middleware."""

    def __init__(self, scope: Scope, send: Send, timings: Timings, request_id: str, metrics: HttpMetrics) -> None:
        # Routes match on the undecoded path, so that a %2F inside an id is not a separator.
        scope["path"] = scope["raw_path"].decode("ascii")
        scope[TIMINGS] = timings
        scope[REQUEST_ID] = request_id
        logs.request_id.set(request_id)
        self.timings = timings
        self.status = 500  # of a request without a response
        self._request_id = request_id
        self._metrics = metrics
        self._send = send
        self._started = False

    async def send(self, message: Message) -> None:
        """Pass a message on; the start of a response gets our headers."""
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            headers = message["headers"]
            message["headers"] = [
                *headers,
                *(() if any(name == NO_STORE[0] for name, _ in headers) else (NO_STORE,)),
                *SECURE_HEADERS,
                (b"x-request-id", self._request_id.encode()),
                (b"server-timing", self.timings.header()),
            ]
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Respond with the error; where a response had begun, raise it for the server to log."""
        status, code, detail = describe(error)
        if status >= 500 and not isinstance(error, ShedError):  # load shedding must stay cheap
            unexpected = not isinstance(error, ServiceError)  # the others say all that there is to say
            log.error("request failed", code=code, why=detail, exc_info=error if unexpected else False)
        if self._started:
            raise error
        self._metrics.errors.labels(code).inc()
        extra = getattr(error, "headers", None) or {}
        headers = [(name.encode(), value.encode()) for name, value in extra.items()]
        await send_body(
            self.send, status, error_body(code, detail, self._request_id, getattr(error, "more", None)), JSON, headers
        )
