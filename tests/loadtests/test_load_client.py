import asyncio
from collections.abc import Awaitable, Callable
from itertools import count, cycle, repeat

import numpy as np
import pytest

from loadtests.load_client import LoadResult, closed_loop, open_arrivals, poisson_arrivals

ASK = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def said(status: int, *more: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} said", "content-length: 2", *more, "", "{}"]).encode()


async def asked(reply: Reply, ask: Callable[[int], LoadResult]) -> LoadResult:
    """Ask a server that does `reply` for each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await asyncio.to_thread(ask, server.sockets[0].getsockname()[1])


def test_a_closed_loop_counts_every_answer_that_is_not_200_as_a_failure():
    statuses = cycle([200, 200, 500, 404])

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(said(next(statuses)))

    answers = asyncio.run(asked(reply, lambda port: closed_loop(port, repeat(ASK, 40), connections=4, seconds=30)))
    assert (len(answers.latencies), answers.failures) == (20, 20)


def test_an_answer_that_the_server_had_kept_counts_as_kept():
    timings = cycle(["server-timing: kept;dur=0.004, total;dur=0.01", "server-timing: search;dur=0.1"])

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(said(200, next(timings)))

    answers = asyncio.run(asked(reply, lambda port: closed_loop(port, repeat(ASK, 10), connections=1, seconds=30)))
    assert (len(answers.latencies), answers.cached) == (10, 5)


def test_a_closed_loop_ends_when_its_time_is_over_and_every_request_is_answered():
    async def reply(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(said(200))

    answers = asyncio.run(asked(reply, lambda port: closed_loop(port, repeat(ASK), connections=2, seconds=0.2)))
    assert 0.2 <= answers.seconds < 2
    assert 2 <= len(answers.latencies) <= 10
    assert min(answers.latencies) >= 0.05


def test_a_connection_that_is_lost_is_a_failure_and_ends():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.close()

    answers = asyncio.run(asked(reply, lambda port: closed_loop(port, repeat(ASK), connections=3, seconds=30)))
    assert (answers.latencies, answers.failures) == ([], 3)
    assert answers.seconds < 10


def test_what_is_no_http_is_a_failure():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    answers = asyncio.run(asked(reply, lambda port: closed_loop(port, repeat(ASK), connections=1, seconds=30)))
    assert (answers.latencies, answers.failures) == ([], 1)


def test_an_open_arrival_that_waits_for_a_connection_is_timed_from_when_it_should_have_started():
    numbers = count()

    async def reply(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3 if next(numbers) == 0 else 0)  # the first answer stalls
        writer.write(said(200))

    arrivals = np.array([0.0, 0.1, 0.2])
    answers = asyncio.run(asked(reply, lambda port: open_arrivals(port, repeat(ASK), arrivals, connections=1)))
    assert answers.failures == 0
    first, second, third = answers.latencies
    assert first >= 0.3
    assert second >= first - 0.1 - 0.01
    assert third >= first - 0.2 - 0.01


def test_open_arrivals_do_not_slow_down_with_the_server():
    async def reply(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(said(200))

    arrivals = np.linspace(0, 0.1, 20)
    answers = asyncio.run(asked(reply, lambda port: open_arrivals(port, repeat(ASK), arrivals, connections=20)))
    assert len(answers.latencies) == 20
    assert answers.seconds < 2  # one after the other they would take 4
    assert 0.1 < answers.idle < answers.seconds, "the client stays awake for the last answers, and says so"


def test_the_client_sleeps_while_the_next_arrival_is_far():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(said(200))

    arrivals = np.array([0.0, 1.0])
    answers = asyncio.run(asked(reply, lambda port: open_arrivals(port, repeat(ASK), arrivals, connections=1)))
    assert (len(answers.latencies), answers.failures) == (2, 0)
    assert answers.idle < 0.5


def test_an_open_arrival_on_a_lost_connection_is_a_failure():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.close()

    arrivals = np.array([0.0, 0.01])
    answers = asyncio.run(asked(reply, lambda port: open_arrivals(port, repeat(ASK), arrivals, connections=2)))
    assert (answers.latencies, answers.failures) == ([], 2)


def test_poisson_arrivals_have_the_rate_and_know_nothing_of_one_another():
    arrivals = poisson_arrivals(1_000, 100, np.random.default_rng(0))
    assert len(arrivals) == pytest.approx(100_000, abs=5 * 100_000**0.5)
    assert arrivals[0] >= 0
    assert arrivals[-1] < 100
    gaps = np.diff(arrivals)
    assert (gaps >= 0).all()
    # Exponential gaps: mean and standard deviation agree, and e^-1 of them are longer than the mean.
    assert gaps.mean() == pytest.approx(0.001, rel=0.02)
    assert gaps.std() == pytest.approx(0.001, rel=0.02)
    assert np.mean(gaps > 0.001) == pytest.approx(np.exp(-1), abs=0.01)
