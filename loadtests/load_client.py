"""A client that takes little time of its own: keep-alive sockets on one epoll, and nothing between them and the caller.

A closed loop asks as soon as it is answered and so finds what a server can do; it slows its own load where the server
is slow, and so says nothing of waiting. Open arrivals come when they come, and are timed from when they should have.
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
LOST = 0  # stands for the status of an answer that never came
GRACE_S = 20.0  # without any answer, after which those that are under way are given up
KEPT = b"kept;dur="  # stands in Server-Timing where the service sent an answer that it had kept
RECEIVED = 65_536  # bytes at a time
AWAKE_S = 0.002  # before an arrival the client stays awake: epoll counts in whole milliseconds, and waking takes time


class TimedResponse(NamedTuple):
    """What came back for one request."""

    status: int
    seconds: float  # from when it was asked, or should have been
    cached: bool  # the service had made it before


@dataclass
class LoadResult:
    """What came back. A failure is any answer but a 2xx, and one that never came."""

    latencies: list[float] = field(default_factory=list)  # seconds, of the good ones
    failures: int = 0
    cached: int = 0  # good ones that the service had made before
    seconds: float = 0.0  # from the first request to the last answer
    idle: float = 0.0  # seconds of CPU for which the client stayed awake and had nothing to do

    def add(self, answer: TimedResponse) -> None:
        """Count one answer."""
        if answer.status in OK:
            self.latencies.append(answer.seconds)
            self.cached += answer.cached
        else:
            self.failures += 1


class Connection:
    """One keep-alive connection to a port of this machine, with at most one request under way."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpResponseParser(self)
        self._asked_at: float | None = None
        self._answer: TimedResponse | None = None
        self._kept = False

    def fileno(self) -> int:
        """For epoll; below 0 once closed."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """By either side, as far as `receive` has met it."""
        return self.fileno() < 0

    def ask(self, request: bytes, at: float) -> None:
        """Send a request whose latency counts from `at`; OSError where the connection is gone."""
        self._asked_at, self._kept = at, False
        self._socket.sendall(request)

    def receive(self) -> TimedResponse | None:
        """Read what has come: the answer, if it is whole now. A connection that ends or says no HTTP is closed."""
        try:
            data = self._socket.recv(RECEIVED)
            if KEPT in data:
                self._kept = True
            self._parser.feed_data(data)
        except (OSError, httptools.HttpParserError):
            data = b""
        return self._taken() if data else self.lose()

    def lose(self) -> TimedResponse | None:
        """Close; the answer that will not come, where one was under way."""
        self._socket.close()
        self._end(LOST)
        return self._taken()

    def on_message_complete(self) -> None:
        """The parser calls this and nothing else: to be told of headers would cost time that is the server's."""
        self._end(self._parser.get_status_code())

    def _end(self, status: int) -> None:
        if self._asked_at is not None:
            self._answer = TimedResponse(status, perf_counter() - self._asked_at, self._kept)
            self._asked_at = None

    def _taken(self) -> TimedResponse | None:
        answer, self._answer = self._answer, None
        return answer


class Pool:
    """Connections to one port, and what is under way on them."""

    def __init__(self, port: int, n: int = 0) -> None:
        self.under_way = 0  # requests
        self._port = port
        self._lost: list[tuple[Connection, TimedResponse]] = []
        self._by_number: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self.connections = [self.open() for _ in range(n)]  # those it began with

    def open(self) -> Connection:
        """One connection more; OSError where the port takes none."""
        connection = Connection(self._port)
        self._by_number[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for connection in self._by_number.values():
            connection.lose()
        self._epoll.close()

    def ask(self, connection: Connection, request: bytes, at: float) -> None:
        """Send a request whose latency counts from `at`; on a connection that is gone it is lost at once."""
        self.under_way += 1
        try:
            connection.ask(request, at)
        except OSError:
            lost = connection.lose()
            if lost is not None:
                self._lost.append((connection, lost))

    def answers(self, timeout_s: float) -> list[tuple[Connection, TimedResponse]]:
        """Those that have come; where there is none, wait so long for one. A lost one has the status `LOST`."""
        found, self._lost = self._lost, []
        for number, _ in self._epoll.poll(0 if found else timeout_s):
            connection = self._by_number[number]
            answer = connection.receive()
            if answer is not None:
                found.append((connection, answer))
        self.under_way -= len(found)
        return found


def send_all(
    pool: Pool, requests: Iterator[T], *, message: Callable[[T], bytes], on_response: Callable[[T, TimedResponse], None]
) -> int:
    """Keep every connection asking until the requests run out. How many were given up.

    A connection that is lost is not replaced; a server that answers nothing for `GRACE_S` is given up.
    """
    under_way: dict[Connection, T] = {}

    def ask_next(connection: Connection) -> None:
        for request in requests:
            under_way[connection] = request
            pool.ask(connection, message(request), perf_counter())
            return

    for connection in pool.connections:
        ask_next(connection)
    answered_at = perf_counter()
    while under_way and perf_counter() < answered_at + GRACE_S:
        for connection, answer in pool.answers(GRACE_S):
            answered_at = perf_counter()
            on_response(under_way.pop(connection), answer)
            if answer.status != LOST:
                ask_next(connection)
    return len(under_way)


def closed_loop(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> LoadResult:
    """Keep every connection asking for so many seconds, or until the requests run out."""
    answers = LoadResult()

    def in_time() -> Iterator[bytes]:
        while perf_counter() < start + seconds:
            request = next(requests, None)
            if request is None:
                return
            yield request

    def count(_: bytes, answer: TimedResponse) -> None:
        answers.add(answer)

    with Pool(port, connections) as pool:
        start = perf_counter()
        given_up = send_all(pool, in_time(), message=bytes, on_response=count)
        answers.failures += given_up
        answers.seconds = perf_counter() - start
    return answers


def open_arrivals(port: int, requests: Iterator[bytes], arrivals: Array, *, connections: int) -> LoadResult:
    """Ask at the arrivals (n,), ascending seconds from now, whatever the server does.

    Where all connections are taken an arrival waits for one, and its latency still counts from when it came. The client
    does not sleep while an arrival is near: to be woken takes time, which would count as the server's.
    """
    answers, waiting = LoadResult(), deque[float]()
    with Pool(port, connections) as pool:
        free = list(pool.connections)
        start = answered_at = perf_counter()
        due = deque((start + arrivals).tolist())
        while due or (waiting and free) or pool.under_way:
            now = perf_counter()
            if not due and now > answered_at + GRACE_S:
                break
            while due and due[0] <= now:
                waiting.append(due.popleft())
            while free and waiting:
                pool.ask(free.pop(), next(requests), waiting.popleft())
            asked_at = perf_counter()
            sleep_s = max(0.0, due[0] - asked_at - AWAKE_S) if due else 0.0
            found = pool.answers(sleep_s)
            if found:
                answered_at = perf_counter()
            elif not sleep_s:
                answers.idle += perf_counter() - asked_at
            for connection, answer in found:
                answers.add(answer)
                if answer.status != LOST:
                    free.append(connection)
        answers.seconds = perf_counter() - start
    answers.failures = len(arrivals) - len(answers.latencies)  # with those that nobody waits for any longer
    return answers


def poisson_arrivals(rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """Ascending times (n,) in [0, seconds) of arrivals that know nothing of one another, `rate` a second.

    Given their number, the arrivals of a Poisson process are independent and uniform (Ross, Stochastic Processes,
    theorem 2.3.1).
    """
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
