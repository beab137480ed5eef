import asyncio
from collections.abc import Awaitable, Callable
from itertools import count, cycle, repeat

import numpy as np
import pytest

from loadtests.load_client import LoadResult, closed_loop, open_arrivals, poisson_arrivals

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def response(status: int, *more: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Status", "content-length: 2", *more, "", "{}"]).encode()


async def load(reply: Reply, send: Callable[[int], LoadResult]) -> LoadResult:
    """Send requests to a server that calls `reply` for each of them."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await asyncio.to_thread(send, server.sockets[0].getsockname()[1])


def test_a_closed_loop_counts_every_status_but_200_as_a_failure():
    statuses = cycle([200, 200, 500, 404])

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(response(next(statuses)))

    result = asyncio.run(load(reply, lambda port: closed_loop(port, repeat(REQUEST, 40), connections=4, seconds=30)))
    assert (len(result.latencies), result.failures) == (20, 20)


def test_a_hit_in_the_services_response_cache_counts_as_cached():
    timings = cycle(["server-timing: kept;dur=0.004, total;dur=0.01", "server-timing: search;dur=0.1"])

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, next(timings)))

    result = asyncio.run(load(reply, lambda port: closed_loop(port, repeat(REQUEST, 10), connections=1, seconds=30)))
    assert (len(result.latencies), result.cached) == (10, 5)


def test_a_closed_loop_ends_after_its_duration_with_a_response_to_every_request():
    async def reply(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(response(200))

    result = asyncio.run(load(reply, lambda port: closed_loop(port, repeat(REQUEST), connections=2, seconds=0.2)))
    assert result.seconds >= 0.2
    assert 2 <= len(result.latencies) <= 10
    assert result.failures == 0
    assert min(result.latencies) >= 0.05


def test_a_lost_connection_is_a_failure_and_is_not_replaced():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.close()

    result = asyncio.run(load(reply, lambda port: closed_loop(port, repeat(REQUEST), connections=3, seconds=30)))
    assert (result.latencies, result.failures) == ([], 3)
    assert result.seconds < 10


def test_a_response_that_is_not_http_is_a_failure():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    result = asyncio.run(load(reply, lambda port: closed_loop(port, repeat(REQUEST), connections=1, seconds=30)))
    assert (result.latencies, result.failures) == ([], 1)


def test_an_open_arrival_that_waits_for_a_connection_is_timed_from_its_schedule():
    numbers = count()

    async def reply(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3 if next(numbers) == 0 else 0)  # the first response stalls
        writer.write(response(200))

    arrivals = np.array([0.0, 0.1, 0.2])
    result = asyncio.run(load(reply, lambda port: open_arrivals(port, repeat(REQUEST), arrivals, connections=1)))
    assert result.failures == 0
    first, second, third = result.latencies
    assert first >= 0.3
    assert second >= first - 0.1 - 0.01
    assert third >= first - 0.2 - 0.01


def test_open_arrivals_do_not_slow_down_with_the_server():
    waiting, most_waiting = 0, 0

    async def reply(writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, most_waiting
        waiting += 1
        most_waiting = max(most_waiting, waiting)
        await asyncio.sleep(0.2)
        waiting -= 1
        writer.write(response(200))

    arrivals = np.linspace(0, 0.1, 20)
    result = asyncio.run(load(reply, lambda port: open_arrivals(port, repeat(REQUEST), arrivals, connections=20)))
    assert len(result.latencies) == 20
    assert most_waiting > 1, "arrivals do not wait for responses"
    assert 0 < result.idle < result.seconds, "the client polls until the last response and counts that time"


def test_the_client_sleeps_while_the_next_arrival_is_far():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(response(200))

    arrivals = np.array([0.0, 0.4])
    result = asyncio.run(load(reply, lambda port: open_arrivals(port, repeat(REQUEST), arrivals, connections=1)))
    assert (len(result.latencies), result.failures) == (2, 0)
    assert result.seconds - result.idle > 0.3


def test_an_open_arrival_on_a_lost_connection_is_a_failure():
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.close()

    arrivals = np.array([0.0, 0.01])
    result = asyncio.run(load(reply, lambda port: open_arrivals(port, repeat(REQUEST), arrivals, connections=2)))
    assert (result.latencies, result.failures) == ([], 2)


def test_poisson_arrivals_have_the_rate_and_are_independent():
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
