"""One HTTP connection: uvicorn's, with our limits and timeouts, and our JSON for requests that cannot be parsed."""

import asyncio
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import (
    ARRIVING,
    NO_TIMEOUT,
    OVERLOADED,
    TIMED_OUT,
    ResponseTimeoutError,
    ServiceError,
    ShedError,
    SlowClientError,
)
from service.http.bad_requests import Refusal, bad_head, bad_request, head_bytes, head_too_large, head_without_upgrade
from service.http.load import SPARE_LIFETIME_S, Load
from service.http.receiving import PIECE_BYTES, Unparsed
from service.http.sending import Flow, JoinedWrites


class RefusedHeadError(Exception):
    """Raised in a callback of the parser to stop it."""


class HttpConnection(HttpToolsProtocol):
    """Enforces the limits, and responds to a request that cannot be parsed with the JSON of every other error.

    A request is in flight from when all of it has arrived. No request sets a timer: the server calls
    `enforce_timeouts` of each connection twice a second.
    """

    def __init__(self, *args: Any, load: Load, **options: Any) -> None:
        super().__init__(*args, **options)
        self._load, self._limits = load, load.limits
        self.port, self.is_spare = 0, False
        self._lost = False
        self._answering: RequestResponseCycle | None = None  # until its response is complete
        self._task: asyncio.Task[None] | None = None  # of that request
        self._whole_at = self._idle_at = self.loop.time()
        self._reading_since: float | None = None  # when the message that is being parsed began
        self._in_head = self._begun = False  # whether it is in its head; whether it began in this chunk
        self._chunk_bytes = self._first_chunk_bytes = 0  # this chunk; the earlier one in which the message began
        self._framing_bytes = 0  # of the message, in chunks after its first: head, trailers, sizes of chunks
        self._body_bytes = 0  # of the message, counted in the load
        self._stuck_since: float | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put JoinedWrites between uvicorn and the socket, and ask the load for a place."""
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport)))
        self.flow = flow = Flow(self.transport, self._leave_place)
        self._unparsed = Unparsed(self._load.parsing, flow, self._parse_piece, self._may_parse, self._end)
        self.port = (self.server or ("", 0))[1] or 0
        self._load.open(self)

    def data_received(self, data: bytes) -> None:
        """Parse a chunk, or begin to."""
        if len(data) <= PIECE_BYTES and not self._unparsed.rest:
            self._parse_piece(data)
        else:
            self._unparsed.add(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether to keep the sending side open: as long as a whole request is not answered."""
        self._unparsed.ended = True
        goes_on = bool(self._unparsed.rest) or self._answers_last()
        if not goes_on:
            self.transport.close()  # the event loop would close without what is still to be joined and sent
        return goes_on

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a request that runs on know that its caller has gone."""
        super().connection_lost(exc)
        self._lost = True
        self._forget_body()
        self.pipeline.clear()
        self._unparsed.clear()
        self._load.close(self)
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        if not self.is_answering:
            self._load.forget(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._begun = True
        self._framing_bytes = self._first_chunk_bytes = 0
        self._reading_since = self.loop.time()

    def on_headers_complete(self) -> None:
        # Only long chunks can hide a long head, so most heads are not measured.
        if (
            self._first_chunk_bytes + self._framing_bytes + self._chunk_bytes > self._limits.head_max_bytes
            and head_bytes(self.url, self.headers) > self._limits.head_max_bytes
        ):
            raise RefusedHeadError
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedHeadError
            return  # the parser stops here, see _parse
        self._in_head = False
        super().on_headers_complete()
        self.headers = []  # trailers are no headers

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        if not self.cycle.response_complete:
            self._body_bytes += len(body)
            self._load.body_bytes += len(body)
            if self._load.body_bytes > self._limits.max_body_bytes and self._answering is self.cycle:
                self._cancel(ShedError("too many request bodies are arriving", headers={"Retry-After": "1"}))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._reading_since = None
        super().on_message_complete()
        if self._body_bytes:
            self._forget_body()
        if self._answering is self.cycle:
            self._begin_answer()

    # What uvicorn calls.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        if self.is_spare:
            cycle.keep_alive = False
            cast("dict[str, Any]", cycle.scope)[OVERLOADED] = "too many connections are open"
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self._end_task)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """Start the next request that was sent ahead, if any."""
        self.server_state.total_requests += 1
        if self._answering is self.cycle:
            self._forget_body()
        self._leave_place()
        self._answering, self._idle_at = None, self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            if cycle.more_body:
                cast("dict[str, Any]", cycle.scope)[ARRIVING] = self._begin_answer
            else:
                self._begin_answer()
        if self._unparsed.rest:
            self._unparsed.go_on()

    def send_400_response(self, msg: str) -> None:
        """Respond and close where the parser fails."""
        self._refuse(bad_head(getattr(self, "url", b""), self.headers or (), self._limits.head_max_bytes, msg))

    # What the load calls.

    @property
    def is_answering(self) -> bool:
        """Whether a request of this connection runs."""
        return self._task is not None and not self._task.done()

    def abort(self) -> None:
        """Close at once, without sending what is buffered."""
        self.transport.abort()

    def enforce_timeouts(self, now: float) -> None:
        """End a request that arrives too slowly, a response that takes too long or is not read, an idle connection.

        Whatever else was sent, such as empty lines, keeps no connection open.
        """
        limits, cycle = self._limits, self._answering
        read_timeout_s, idle_s = (SPARE_LIFETIME_S,) * 2 if self.is_spare else (limits.read_timeout_s, limits.idle_s)
        # Of a request that was sent ahead, no byte may have been read before the response to the one before it.
        slow = self._reading_since is not None and now - max(self._reading_since, self._idle_at) > read_timeout_s
        if not self._lost and self._is_stuck(now):
            self.abort()
        elif cycle is not None and cycle.more_body and self._task not in self._load.in_flight:
            if slow:
                self._cancel(self._slow_client())
        elif cycle is not None:
            if NO_TIMEOUT not in cycle.scope and now - self._whole_at > limits.request_timeout_s:
                self._cancel(ResponseTimeoutError(f"no response within {limits.request_timeout_s:g} s"))
        elif slow:
            self._end_reading()
        elif self._reading_since is None and now - self._idle_at > idle_s:
            self.transport.close()

    def _begin_answer(self) -> None:
        """From here on the request is in flight: all of it has arrived, or the rest is not needed."""
        in_flight = self._load.in_flight
        if self._task in in_flight:
            return
        self._whole_at = self.loop.time()
        if len(in_flight) >= self._limits.max_in_flight:
            cast("dict[str, Any]", self._answering.scope)[OVERLOADED] = "too many requests are in flight"  # type: ignore[union-attr]
        in_flight.add(self._task)

    def _leave_place(self) -> None:
        """A response that is made is no longer in flight, though its client may have to read it first."""
        self._load.in_flight.discard(self._task)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._load.in_flight.discard(task)
        if task is self._task:
            self._answering = None
        if self._lost and not self.is_answering:
            self._load.forget(self)

    def _may_parse(self) -> bool:
        """Whether there is no request sent ahead that waits for the one before it."""
        return not self.pipeline and not self.transport.is_closing()

    def _answers_last(self) -> bool:
        """Whether a whole request is being answered, which is then the connection's last."""
        waiting = self._answering is not None and self._reading_since is None
        if waiting:
            self.cycle.keep_alive = False
        return waiting

    def _end(self) -> None:
        if not self._answers_last():
            self.transport.close()

    def _parse_piece(self, data: bytes | memoryview) -> None:
        """Parse a chunk or a piece of one; refuse a message that is longer than the limits allow."""
        self._begun, self._chunk_bytes = False, len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self.logger.debug("bad request: %s", error)
            self._unparsed.clear()
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._reading_since is not None:
            self._check_partial_message(len(data))

    def _parse(self, data: bytes | memoryview) -> None:
        """Parse the chunk, and each head that asks for an upgrade once more, without that.

        The parser would take what follows such a head, such as its body, for another request.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
                head = head_without_upgrade(
                    self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
                )
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                self.parser.feed_data(head)
            else:
                return

    def _check_partial_message(self, n_bytes: int) -> None:
        """Refuse an endless head, or endless trailers; mark a request whose body is still arriving."""
        cycle, limits = self._answering, self._limits
        if self._begun:
            self._framing_bytes, self._first_chunk_bytes = 0, n_bytes
        else:
            self._framing_bytes += n_bytes
        if self._in_head:
            if self._framing_bytes > limits.head_max_bytes and not self.transport.is_closing():
                self._refuse(head_too_large(self.url, self._framing_bytes, limits.head_max_bytes))
        elif self._framing_bytes > limits.head_max_bytes + limits.body_max_bytes:
            self._refuse(bad_request("the trailers or the chunks' heads are too long"))
        if cycle is not None and cycle.more_body:
            cast("dict[str, Any]", cycle.scope)[ARRIVING] = self._begin_answer

    def _forget_body(self) -> None:
        self._load.body_bytes -= self._body_bytes
        self._body_bytes = 0

    def _end_reading(self) -> None:
        if self._in_head:
            self._refuse(Refusal(b"408 Request Timeout", SlowClientError.code, self._slow_client().detail))
        else:  # the rest of a body that the response did not need
            self.transport.close()

    def _is_stuck(self, now: float) -> bool:
        if not self.transport.get_write_buffer_size():
            self._stuck_since = None
            return False
        self._stuck_since = self._stuck_since or now
        return now - self._stuck_since > self._limits.read_timeout_s

    def _cancel(self, error: ServiceError) -> None:
        """End the request that is being answered with this error."""
        scope = cast("dict[str, Any]", self._answering.scope)  # type: ignore[union-attr]
        if self._task is not None and TIMED_OUT not in scope:
            scope[TIMED_OUT] = error
            self._task.cancel()

    def _slow_client(self) -> SlowClientError:
        return SlowClientError(f"the request did not arrive within {self._limits.read_timeout_s:g} s")

    def _refuse(self, refusal: Refusal) -> None:
        """Respond and close; behind a response, begun or already sent, only close."""
        if self._answering is not None and not self._answering.more_body:
            self._answering.keep_alive = False
            self.pipeline.clear()
            return
        if self._answering is not None or self._in_head or self._reading_since is None:
            self.transport.write(refusal.render())
        self.transport.close()
