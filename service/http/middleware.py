"""The outermost layer of every request: its id, its clock, its metrics, and the edge where errors end."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import LATE, REQUEST_ID, ServiceError, ShedError, describe, error_body
from service.http.sending import JSON, send_body
from service.telemetry import logs
from service.telemetry.metrics import Metrics, route_of
from service.telemetry.timings import TIMINGS, Timings

if TYPE_CHECKING:  # comes with an extra
    from service.telemetry.tracing import Traces

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
LONGEST_LOGGED_PATH = 200
SECURE_HEADERS = (  # answers are a person's own, and no page
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

log = structlog.get_logger()


@dataclass
class ObservabilityMiddleware:
    """Plain ASGI middleware; a request costs it a counter and a histogram observation for each stage."""

    app: ASGIApp
    metrics: Metrics
    traces: "Traces | None" = None
    clock: Callable[[], float] = time.perf_counter
    new_request_id: Callable[[], str] = lambda: secrets.token_hex(16)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, Timings(self.clock), self._request_id(scope), self.metrics)
        self.metrics.in_flight += 1
        try:
            await self.app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            if LATE not in scope:
                raise
            await exchange.fail(_taken_back(scope))
        except Exception as error:  # the outermost edge: whatever happened, the caller gets an answer
            await exchange.fail(error)
        finally:
            self.metrics.in_flight -= 1
            self._observe(scope, exchange)

    def _request_id(self, scope: Scope) -> str:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        return given.decode() if SANE_REQUEST_ID.fullmatch(given) else self.new_request_id()

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
            path=scope["path"][:LONGEST_LOGGED_PATH],
            status=exchange.status,
            seconds=round(seconds, 6),
        )


def _taken_back(scope: Scope) -> ServiceError:
    """The error of a request that was ended for taking too long, its task free to answer."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    late: ServiceError = scope[LATE]
    return late


class _Exchange:
    """One request and its answer, as they pass through the middleware."""

    def __init__(self, scope: Scope, send: Send, timings: Timings, request_id: str, metrics: Metrics) -> None:
        # Routes match on the undecoded path, so that a %2F inside an id is not a separator.
        scope["path"] = scope["raw_path"].decode("ascii")
        scope[TIMINGS] = timings
        scope[REQUEST_ID] = request_id
        logs.request_id.set(request_id)
        self.timings = timings
        self.status = 500  # what a request without an answer counts as
        self._request_id = request_id
        self._metrics = metrics
        self._send = send
        self._started = False

    async def send(self, message: Message) -> None:
        """Pass a message on, the answer's start with our headers."""
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            message["headers"] = [
                *message["headers"],
                *SECURE_HEADERS,
                (b"x-request-id", self._request_id.encode()),
                (b"server-timing", self.timings.header()),
            ]
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Answer with the error; where the answer had begun, only the log can tell."""
        status, code, detail = describe(error)
        if status >= 500 and not isinstance(error, ShedError):  # those come by the thousand, when time is short
            log.error("request failed", exc_info=error)
        if self._started:
            raise error
        self._metrics.errors.labels(code).inc()
        own = getattr(error, "headers", None) or {}
        headers = [(name.encode(), value.encode()) for name, value in own.items()]
        await send_body(
            self.send, status, error_body(code, detail, self._request_id, getattr(error, "more", None)), JSON, headers
        )
