"""A client that takes little time of its own: raw asyncio protocols over keep-alive connections.

A closed loop asks as soon as it is answered and so finds what a server can do; it slows its own load where the server
is slow, and so says nothing of waiting. Open arrivals come when they come, and are timed from when they should have.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast

import httptools
import numpy as np

Array = np.ndarray[Any, Any]

OK = range(200, 300)
LOST = 0  # stands for the status of an answer that never came
GRACE_S = 20.0  # after the last request, how long its answer is waited for
KEPT = b"kept;dur="  # stands in Server-Timing where the service sent an answer that it had kept


@dataclass
class Answers:
    """What came back. A failure is any answer but a 2xx, and one that never came."""

    latencies: list[float] = field(default_factory=list)  # seconds, of the good ones
    failures: int = 0
    kept: int = 0  # good ones that the service had made before
    seconds: float = 0.0  # from the first request to the last answer

    def add(self, status: int, seconds: float, kept: bool) -> None:
        """Count one answer."""
        if status in OK:
            self.latencies.append(seconds)
            self.kept += kept
        else:
            self.failures += 1


OnAnswer = Callable[["Connection", int, float], None]


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, on_answer: OnAnswer) -> None:
        self._on_answer = on_answer
        self._parser = httptools.HttpResponseParser(self)
        self._asked_at: float | None = None
        self.kept = False  # the answer that has just come
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, at: float) -> None:
        """Send a request whose latency counts from `at`; on a connection that is gone it is lost at once."""
        self._asked_at, self.kept = at, False
        if self.closed.done():
            self._answer(LOST)
        else:
            self._transport.write(request)

    def close(self) -> None:
        """Ask nothing more; what is under way is lost."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls on_message_complete alone: headers would cost time that is the server's."""
        if KEPT in data:
            self.kept = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        """Hand on the answer that has just become whole."""
        self._answer(self._parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        """A request that was under way is lost."""
        self.closed.set_result(None)
        self._answer(LOST)

    def _answer(self, status: int) -> None:
        if self._asked_at is not None:
            seconds, self._asked_at = perf_counter() - self._asked_at, None
            self._on_answer(self, status, seconds)


async def closed_loop(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> Answers:
    """Keep every connection asking for so many seconds, or until the requests run out."""
    answers = Answers()

    def go_on(connection: Connection, status: int, latency: float) -> None:
        answers.add(status, latency, connection.kept)
        if status != LOST:  # a lost connection is not replaced: a run with failures is void as it is
            ask_next(connection)

    def ask_next(connection: Connection) -> None:
        now = perf_counter()
        request = next(requests, None) if now < end else None
        if request is None:
            connection.close()
        else:
            connection.ask(request, now)

    pool = await connect(port, connections, go_on)
    start = perf_counter()
    end = start + seconds
    for connection in pool:
        ask_next(connection)
    await _gone(pool, seconds + GRACE_S)
    answers.seconds = perf_counter() - start
    return answers


async def open_arrivals(port: int, requests: Iterator[bytes], arrivals: Array, *, connections: int) -> Answers:
    """Ask at the arrivals (n,), ascending seconds from now, whatever the server does.

    Where all connections are taken an arrival waits for one, and its latency still counts from when it came.
    """
    answers = Answers()
    waiting: deque[float] = deque()

    def go_on(connection: Connection, status: int, latency: float) -> None:
        answers.add(status, latency, connection.kept)
        if status == LOST:
            return
        if waiting:
            connection.ask(next(requests), waiting.popleft())
        else:
            free.append(connection)

    pool = await connect(port, connections, go_on)
    free = list(pool)
    start = perf_counter()
    for at in (start + arrivals).tolist():
        early = at - perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        if free:
            free.pop().ask(next(requests), at)
        else:
            waiting.append(at)
    await _answered(answers, len(arrivals))
    answers.seconds = perf_counter() - start
    answers.failures = len(arrivals) - len(answers.latencies)  # with those that nobody waits for any longer
    await _gone(pool, 0)
    return answers


async def connect(port: int, n: int, on_answer: OnAnswer) -> list[Connection]:
    """So many connections to a port of this machine."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Connection(on_answer), "127.0.0.1", port) for _ in range(n)]
    return [protocol for _, protocol in made]


async def _gone(pool: list[Connection], seconds: float) -> None:
    """Wait until all connections have ended; those that do not are cut, and what they asked is lost."""
    ends = [connection.closed for connection in pool]
    await asyncio.wait(ends, timeout=seconds)
    for connection in pool:
        connection.close()
    await asyncio.wait(ends)


async def _answered(answers: Answers, n: int) -> None:
    end = perf_counter() + GRACE_S
    while len(answers.latencies) + answers.failures < n and perf_counter() < end:
        await asyncio.sleep(0.001)


def poisson_arrivals(rate: float, seconds: float, rng: np.random.Generator) -> Array:
    """Ascending times (n,) in [0, seconds) of arrivals that know nothing of one another, `rate` a second.

    Given their number, the arrivals of a Poisson process are independent and uniform (Ross, Stochastic Processes,
    theorem 2.3.1).
    """
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
