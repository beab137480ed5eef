"""One HTTP connection: uvicorn's, with our limits and timeouts, and our JSON for requests that cannot be parsed."""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import NO_TIMEOUT, OVERLOADED, TIMED_OUT, ResponseTimeoutError, SlowClientError, error_body

# httptools keeps offsets in 16 bits: a longer request target cannot be parsed at all.
MAX_TARGET_BYTES = 65_535


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of each connection."""

    max_in_flight: int  # requests of all connections together
    head_max_bytes: int  # request line and headers
    read_timeout_s: float  # for a request to arrive, or a response to be read by the client
    request_timeout_s: float  # for a response to be complete
    idle_s: float  # for the first request of a connection to begin


class JoinedWrites:
    """A transport that joins the writes of one iteration of the event loop into one system call.

    uvicorn writes the head and the body of a response separately, and uvloop makes a system call for each; one costs an
    eighth of the CPU time of a small response.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pending: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the data at the end of this iteration of the loop."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Send pending data, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and not self._transport.is_closing():
            self._transport.write(b"".join(pending))


class HeadTooLongError(Exception):
    """Raised in a callback of the parser to stop it."""


class HttpConnection(HttpToolsProtocol):
    """Enforces the limits, and responds to a request that cannot be parsed with the JSON of every other error.

    No request sets a timer: the server calls `enforce_timeouts` of each connection twice a second.
    """

    def __init__(self, *args: Any, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self._since = self.loop.time()  # when this connection last began to read or to respond
        self._reading = False
        self._in_head = False
        self._head_begun = False  # in the current chunk
        self._head_bytes = 0  # of a head that takes several chunks
        self._chunk_bytes = 0
        self._stuck_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put JoinedWrites between uvicorn and the socket."""
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport)))

    def data_received(self, data: bytes) -> None:
        """Parse a chunk; refuse a head longer than the limit."""
        in_head, self._head_begun, self._chunk_bytes = self._in_head, False, len(data)
        super().data_received(data)
        if in_head and self._in_head and not self._head_begun:  # the whole chunk belongs to one head
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_max_bytes and not self.transport.is_closing():
                self._refuse_head(self._head_bytes)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._head_begun = self._reading = True
        self._head_bytes = 0
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        self._in_head = False
        # Only a long chunk can hide a long head, so most heads are not measured.
        if (
            self._chunk_bytes + self._head_bytes > self._limits.head_max_bytes
            and self._measure_head() > self._limits.head_max_bytes
        ):
            raise HeadTooLongError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reading = False
        self._since = self.loop.time()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._since = self.loop.time()
        if len(self.tasks) >= self._limits.max_in_flight:
            cast("dict[str, Any]", cycle.scope)[OVERLOADED] = True
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def enforce_timeouts(self, now: float) -> None:
        """End a request that arrives too slowly, a response that takes too long or is not read, an idle connection."""
        limits, waited = self._limits, now - self._since
        cycle: RequestResponseCycle | None = self.cycle
        responding = cycle is not None and not cycle.response_complete
        if self._is_stuck(now):
            self.transport.abort()
        elif responding and waited > (limits.read_timeout_s if self._reading else limits.request_timeout_s):
            self._cancel_request(self._slow_client() if self._reading else _timeout(limits.request_timeout_s))
        elif self._reading and not responding and waited > limits.read_timeout_s:
            self._end_reading()
        elif cycle is None and waited > limits.idle_s:
            self.transport.close()

    def _end_reading(self) -> None:
        if self._in_head:
            self._refuse(b"408 Request Timeout", SlowClientError.code, self._slow_client().detail)
        else:  # the rest of a body that the response did not need
            self.transport.close()

    def _is_stuck(self, now: float) -> bool:
        if not self.transport.get_write_buffer_size():
            self._stuck_since = None
            return False
        self._stuck_since = self._stuck_since or now
        return now - self._stuck_since > self._limits.read_timeout_s

    def _cancel_request(self, error: Exception) -> None:
        scope = cast("dict[str, Any]", self.cycle.scope)
        if self._task is not None and TIMED_OUT not in scope and NO_TIMEOUT not in scope:
            scope[TIMED_OUT] = error
            self._task.cancel()

    def _slow_client(self) -> SlowClientError:
        return SlowClientError(f"the request did not arrive within {self._limits.read_timeout_s:g} s")

    def send_400_response(self, msg: str) -> None:
        """Respond and close: uvicorn calls this where the parser fails, with 414 and 431 for the limits of a head."""
        target, head = len(getattr(self, "url", b"")), self._measure_head()
        if target > MAX_TARGET_BYTES:
            detail = f"the request target has {target} bytes, the limit is {MAX_TARGET_BYTES}"
            self._refuse(b"414 URI Too Long", "uri_too_long", detail)
        elif head > self._limits.head_max_bytes:
            self._refuse_head(head)
        else:
            self._refuse(b"400 Bad Request", "bad_request", msg)

    def _measure_head(self) -> int:
        headers = self.headers or []
        return len(getattr(self, "url", b"")) + sum(len(name) + len(value) + 4 for name, value in headers)

    def _refuse_head(self, n_bytes: int) -> None:
        detail = f"the request's head has {n_bytes} bytes or more, the limit is {self._limits.head_max_bytes}"
        self._refuse(b"431 Request Header Fields Too Large", "head_too_large", detail)

    def _refuse(self, status: bytes, code: str, detail: str) -> None:
        request_id = secrets.token_hex(16)
        body = error_body(code, detail, request_id)
        headers: list[tuple[bytes, Any]] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 " + status, *(name + b": " + value for name, value in headers), b"", body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()


def _timeout(limit_s: float) -> ResponseTimeoutError:
    return ResponseTimeoutError(f"no response within {limit_s:g} s")
