"""The benchmark over real sockets, against a server in this process."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import redis

from deploy.processes import Child
from index.errors import InputError
from loadtests.bench_servers import BASELINE, BenchServers
from loadtests.benchmark import Benchmark, OpenRound, Pace
from loadtests.load_summary import LoadMeasurement
from loadtests.workloads import raw, workload

RESPONSE = b"HTTP/1.1 %d OK\r\ncontent-length: 2\r\n\r\n{}"


@contextmanager
def server(status: int) -> Iterator[int]:
    """The port of a server that responds to every request with this status."""
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(RESPONSE % status)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield listening.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(listening.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def benchmark_of(port: int, client: httpx.Client) -> Benchmark:
    children = {BASELINE: Child(client, port, os.getpid())}
    servers = BenchServers(children, f"127.0.0.1:{port}", redis.Redis(port=port))  # its Redis is not used
    return Benchmark(servers, (workload(BASELINE, BASELINE, [raw("/")]),))


def test_closed_loop_and_open_arrivals_are_measured_over_sockets():
    with server(200) as port, httpx.Client() as client:
        benchmark = benchmark_of(port, client)
        (closed,) = benchmark.closed(4, Pace(0.05, rounds=2)).values()
        (opened,) = benchmark.open({BASELINE: 400.0}, 4, Pace(0.1, rounds=2), np.random.default_rng(0)).values()
        once = benchmark.open_once(benchmark.workloads[0], 400.0, 0.1, 4, np.random.default_rng(0))
    assert closed.failures == opened.failures == once.failures == 0
    assert closed.to_baseline is not None
    assert closed.to_baseline.median == 1
    assert opened.to_baseline is None
    assert opened.requests > len(once.latencies) > 10


def test_a_server_without_any_successful_response_ends_the_benchmark():
    with server(500) as port, httpx.Client() as client:
        benchmark = benchmark_of(port, client)
        with pytest.raises(InputError, match=r"empty: no successful request, \d+ failures"):
            benchmark.closed(2, Pace(0.05, rounds=1))


def open_round(before: float, after: float) -> OpenRound:
    return OpenRound(LoadMeasurement(np.array([1.0]), 0, 1.0, 0.7, 0.1, 0, 0), 0.7, before, after)


def test_rounds_on_a_machine_that_changes_its_speed_are_repeated(monkeypatch: pytest.MonkeyPatch):
    changed, steady = open_round(1_000, 2_000), open_round(1_000, 1_000)
    outcomes = iter([changed, steady, changed, steady, steady])
    monkeypatch.setattr(Benchmark, "_open_at_load", lambda *_: next(outcomes))
    benchmark = Benchmark(BenchServers({}, "", redis.Redis()), (workload("one", "one", [b""]),))
    assert benchmark.open_at_load(0.7, 1, Pace(1.0, rounds=2), np.random.default_rng(0)) == {
        "one": [changed, steady, changed, steady]
    }
    outcomes = iter([changed] * 9)
    found = benchmark.open_at_load(0.7, 1, Pace(1.0, rounds=2, tries=3), np.random.default_rng(0))
    assert len(found["one"]) == 6, "the tries are limited"
