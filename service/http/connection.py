"""HTTP as uvicorn and httptools speak it, with our limits, and our shape of error for what never becomes a request."""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import LATE, OVERLOADED, PATIENT, LateError, SlowClientError, error_body

# httptools keeps offsets in 16 bits: a longer request target cannot be parsed at all.
LONGEST_TARGET = 65_535


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may cost."""

    max_in_flight: int  # requests, of all connections together
    head_max_bytes: int  # request line and headers
    read_timeout_s: float  # for a request to arrive, or an answer to be taken
    request_timeout_s: float  # for an answer to be made
    idle_s: float  # for a first request to begin


class JoinedWrites:
    """A transport that sends what is written in one turn of the loop with one system call.

    uvicorn writes an answer's head and body apart and uvloop sends each at once; a call into the kernel costs a fifth
    of a small answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the data when this turn of the loop is over."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        written, self._written = self._written, []
        if written and not self._transport.is_closing():
            self._transport.write(b"".join(written))


class HeadTooLongError(Exception):
    """Raised inside the parser's callback: it ends the parsing."""


class HttpConnection(HttpToolsProtocol):
    """Sends an answer at once, keeps the limits, and refuses what cannot be parsed with the JSON of every other error.

    No request arms a timer: `sweep` looks at every connection twice a second.
    """

    def __init__(self, *args: Any, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self._since = self.loop.time()  # when this connection last began to read or to answer
        self._reading = False
        self._in_head = False
        self._head_begun = False  # in the chunk at hand
        self._head_bytes = 0  # of a head that takes several chunks
        self._chunk = 0
        self._stuck_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Stand between uvicorn and the socket."""
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport)))

    def data_received(self, data: bytes) -> None:
        """Parse, but not a head without end."""
        in_head, self._head_begun, self._chunk = self._in_head, False, len(data)
        super().data_received(data)
        if in_head and self._in_head and not self._head_begun:  # all of it was one head
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_max_bytes and not self.transport.is_closing():
                self._refuse_head(self._head_bytes)

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        super().on_message_begin()
        self._in_head = self._head_begun = self._reading = True
        self._head_bytes = 0
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """A request's head has arrived."""
        self._in_head = False
        # Only a long chunk can hide a long head, so most heads are not measured.
        if self._chunk + self._head_bytes > self._limits.head_max_bytes and self._head() > self._limits.head_max_bytes:
            raise HeadTooLongError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request has arrived."""
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

    def sweep(self, now: float) -> None:
        """End what has taken too long: a client that sends or takes too slowly, an answer that does not come."""
        limits, waited = self._limits, now - self._since
        cycle: RequestResponseCycle | None = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if self._is_stuck(now):
            self.transport.abort()
        elif answering and waited > (limits.read_timeout_s if self._reading else limits.request_timeout_s):
            self._end_task(self._slow_client() if self._reading else _late(limits.request_timeout_s))
        elif self._reading and not answering and waited > limits.read_timeout_s:
            self._end_reading()
        elif cycle is None and waited > limits.idle_s:
            self.transport.close()

    def _end_reading(self) -> None:
        if self._in_head:
            self._refuse(b"408 Request Timeout", SlowClientError.code, self._slow_client().detail)
        else:  # the rest of a body whose request was answered without it
            self.transport.close()

    def _is_stuck(self, now: float) -> bool:
        if not self.transport.get_write_buffer_size():
            self._stuck_since = None
            return False
        self._stuck_since = self._stuck_since or now
        return now - self._stuck_since > self._limits.read_timeout_s

    def _end_task(self, error: Exception) -> None:
        scope = cast("dict[str, Any]", self.cycle.scope)
        if self._task is not None and LATE not in scope and PATIENT not in scope:
            scope[LATE] = error
            self._task.cancel()

    def _slow_client(self) -> SlowClientError:
        return SlowClientError(f"the request did not arrive within {self._limits.read_timeout_s:g} s")

    def send_400_response(self, msg: str) -> None:
        """Answer and close: 414 and 431 name the limit that is broken before any setting is asked."""
        found, head = len(getattr(self, "url", b"")), self._head()
        if found > LONGEST_TARGET:
            detail = f"the request target has {found} bytes, the limit is {LONGEST_TARGET}"
            self._refuse(b"414 URI Too Long", "uri_too_long", detail)
        elif head > self._limits.head_max_bytes:
            self._refuse_head(head)
        else:
            self._refuse(b"400 Bad Request", "bad_request", msg)

    def _head(self) -> int:
        headers = self.headers or []
        return len(getattr(self, "url", b"")) + sum(len(name) + len(value) + 4 for name, value in headers)

    def _refuse_head(self, found: int) -> None:
        detail = f"the request's head has {found} bytes or more, the limit is {self._limits.head_max_bytes}"
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


def _late(limit_s: float) -> LateError:
    return LateError(f"no answer within {limit_s:g} s")
