"""A load generator with little CPU cost: keep-alive sockets on one epoll.

A closed loop sends the next request as soon as a response arrives. It finds the maximum throughput, but slows down
with the server and therefore hides waiting times. Open arrivals are sent on a schedule, whatever the server does, and
each latency counts from the scheduled time.
"""

import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httptools
import numpy as np

Array = np.ndarray[Any, Any]
T = TypeVar("T")

OK = range(200, 300)
LOST = 0  # the status of a response that never arrived
GIVE_UP_S = 20.0  # without any response, after which outstanding requests count as lost
CACHED_MARK = b"kept;dur="  # in the Server-Timing header of a response from the service's response cache
RECEIVE_BYTES = 65_536
AWAKE_S = 0.002  # the client polls so long before an arrival: epoll waits in whole milliseconds, and waking takes time


class TimedResponse(NamedTuple):
    """The status and latency of one request."""

    status: int
    seconds: float  # from when the request was sent, or scheduled
    cached: bool  # it came from the service's response cache


@dataclass
class LoadResult:
    """All responses of a load run. Every status but a 2xx is a failure, and so is a response that never arrived."""

    latencies: list[float] = field(default_factory=list)  # seconds, of successful requests
    failures: int = 0
    cached: int = 0  # successful requests answered from the service's response cache
    seconds: float = 0.0  # from the first request to the last response
    idle: float = 0.0  # seconds of CPU for which the client polled and had nothing to do

    def add(self, response: TimedResponse) -> None:
        """Count one response."""
        if response.status in OK:
            self.latencies.append(response.seconds)
            self.cached += response.cached
        else:
            self.failures += 1


class Connection:
    """One keep-alive connection to a local port, with at most one outstanding request."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at: float | None = None
        self._response: TimedResponse | None = None
        self._cached = False

    def fileno(self) -> int:
        """Return the file descriptor for epoll; negative once closed."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether either side closed the connection, as far as `receive` has noticed."""
        return self.fileno() < 0

    def send(self, request: bytes, at: float) -> None:
        """Send a request whose latency counts from `at`. OSError where the connection is closed."""
        self._sent_at, self._cached = at, False
        self._socket.sendall(request)

    def receive(self) -> TimedResponse | None:
        """Read available bytes and return the response if it is complete. A broken connection is closed."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
            if CACHED_MARK in data:
                self._cached = True
            self._parser.feed_data(data)
        except (OSError, httptools.HttpParserError):
            data = b""
        return self._take_response() if data else self.close()

    def close(self) -> TimedResponse | None:
        """Close the connection; return the outstanding request, if any, as lost."""
        self._socket.close()
        self._complete(LOST)
        return self._take_response()

    def on_message_complete(self) -> None:
        """Handle the parser's only callback; callbacks for headers would cost CPU time that belongs to the server."""
        self._complete(self._parser.get_status_code())

    def _complete(self, status: int) -> None:
        if self._sent_at is not None:
            self._response = TimedResponse(status, perf_counter() - self._sent_at, self._cached)
            self._sent_at = None

    def _take_response(self) -> TimedResponse | None:
        response, self._response = self._response, None
        return response


class Pool:
    """Connections to one port and their outstanding requests."""

    def __init__(self, port: int, n: int = 0) -> None:
        self.outstanding = 0  # requests
        self._port = port
        self._lost: list[tuple[Connection, TimedResponse]] = []
        self._by_number: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self.connections = [self.open() for _ in range(n)]  # those opened at the start

    def open(self) -> Connection:
        """Open one more connection. OSError where the port accepts none."""
        connection = Connection(self._port)
        self._by_number[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for connection in self._by_number.values():
            connection.close()
        self._epoll.close()

    def send(self, connection: Connection, request: bytes, at: float) -> None:
        """Send a request whose latency counts from `at`; on a closed connection it is lost immediately."""
        self.outstanding += 1
        try:
            connection.send(request, at)
        except OSError:
            lost = connection.close()
            if lost is not None:
                self._lost.append((connection, lost))

    def responses(self, timeout_s: float) -> list[tuple[Connection, TimedResponse]]:
        """Return the responses that have arrived; wait up to `timeout_s` for the first. Lost ones have status LOST."""
        found, self._lost = self._lost, []
        for number, _ in self._epoll.poll(0 if found else timeout_s):
            connection = self._by_number[number]
            response = connection.receive()
            if response is not None:
                found.append((connection, response))
        self.outstanding -= len(found)
        return found


def send_all(
    pool: Pool, requests: Iterator[T], *, message: Callable[[T], bytes], on_response: Callable[[T, TimedResponse], None]
) -> int:
    """Keep every connection busy until the requests run out; return how many requests were abandoned.

    A lost connection is not replaced. Requests are abandoned when no response arrives for `GIVE_UP_S`.
    """
    outstanding: dict[Connection, T] = {}

    def send_next(connection: Connection) -> None:
        for request in requests:
            outstanding[connection] = request
            pool.send(connection, message(request), perf_counter())
            return

    for connection in pool.connections:
        send_next(connection)
    last_response = perf_counter()
    while outstanding and perf_counter() < last_response + GIVE_UP_S:
        for connection, response in pool.responses(GIVE_UP_S):
            last_response = perf_counter()
            on_response(outstanding.pop(connection), response)
            if response.status != LOST:
                send_next(connection)
    return len(outstanding)


def closed_loop(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> LoadResult:
    """Keep every connection busy for so many seconds, or until the requests run out."""
    result = LoadResult()

    def until_the_end() -> Iterator[bytes]:
        while perf_counter() < start + seconds:
            request = next(requests, None)
            if request is None:
                return
            yield request

    def count(_: bytes, response: TimedResponse) -> None:
        result.add(response)

    with Pool(port, connections) as pool:
        start = perf_counter()
        abandoned = send_all(pool, until_the_end(), message=bytes, on_response=count)
        result.failures += abandoned
        result.seconds = perf_counter() - start
    return result


def open_arrivals(port: int, requests: Iterator[bytes], arrivals: Array, *, connections: int) -> LoadResult:
    """Send requests at the arrivals (n,), ascending seconds from now, whatever the server does.

    An arrival waits while all connections are busy; its latency still counts from the scheduled time. The client polls
    instead of sleeping shortly before an arrival, since waking up takes time that would count as the server's.
    """
    result, waiting = LoadResult(), deque[float]()
    with Pool(port, connections) as pool:
        free = list(pool.connections)
        start = last_response = perf_counter()
        due = deque((start + arrivals).tolist())
        while due or (waiting and free) or pool.outstanding:
            now = perf_counter()
            if not due and now > last_response + GIVE_UP_S:
                break
            while due and due[0] <= now:
                waiting.append(due.popleft())
            while free and waiting:
                pool.send(free.pop(), next(requests), waiting.popleft())
            polled_at = perf_counter()
            sleep_s = max(0.0, due[0] - polled_at - AWAKE_S) if due else 0.0
            found = pool.responses(sleep_s)
            if found:
                last_response = perf_counter()
            elif not sleep_s:
                result.idle += perf_counter() - polled_at
            for connection, response in found:
                result.add(response)
                if response.status != LOST:
                    free.append(connection)
        result.seconds = perf_counter() - start
    result.failures = len(arrivals) - len(result.latencies)  # includes abandoned requests
    return result


def poisson_arrivals(rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """Return ascending times (n,) in [0, seconds) of independent arrivals, `rate` per second.

    Given their number, the arrivals of a Poisson process are independent and uniform (Ross, Stochastic Processes,
    theorem 2.3.1).
    """
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
