"""The run for the highest rate, against a real server whose capacity is known because it only waits."""

import asyncio
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import redis
from rich.progress import Progress

from deploy.processes import Child
from loadtests.bench_servers import BASELINE, BenchServers
from loadtests.benchmark import Benchmark
from loadtests.load_summary import LoadMeasurement
from loadtests.max_rate import RateBracket
from loadtests.slo import Objective, RateSearch, as_json, confirm, find_max_rates, show
from loadtests.workloads import raw, workload

OBJECTIVE = Objective(100, 0.01, seconds=0.4, connections=64, tolerance=0.25, samples=100, settling_s=0.1)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@contextmanager
def one_at_a_time(capacity: float) -> Iterator[int]:
    """The port of a server that gives each request 1 / capacity seconds, one after the other, by the clock."""
    loop, free_at = asyncio.new_event_loop(), 0.0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal free_at
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                free_at = max(free_at, loop.time()) + 1 / capacity
                await asyncio.sleep(free_at - loop.time())
                writer.write(ANSWER)
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


@pytest.fixture
def bench() -> Iterator[Benchmark]:
    with one_at_a_time(500) as port, httpx.Client() as client:
        children = {BASELINE: Child(client, port, os.getpid())}
        servers = BenchServers(children, f"127.0.0.1:{port}", redis.Redis(port=port))  # which nobody asks
        yield Benchmark(servers, (workload(BASELINE, BASELINE, [raw("/")]),))


def test_the_capacity_of_a_server_is_found_and_told(bench: Benchmark, capsys: pytest.CaptureFixture[str]):
    found = find_max_rates(bench, OBJECTIVE, np.random.default_rng(0))
    record = as_json(found)[BASELINE]
    # A burst may go above what lasts: in 0.4 s at 1.3 times the capacity the queue has just grown to the limit.
    assert 250 <= record["rate"] <= 750
    assert record["rate"] <= record["search"]["held"] < record["search"]["broke"] <= 800
    assert record["of_empty"] == 1
    assert record["at_rate"]["failures"] == 0
    assert record["at_rate"]["requests_per_second"] == pytest.approx(record["rate"], rel=0.3)
    out, err = capsys.readouterr()
    show(found, OBJECTIVE)
    assert "empty, 800 a second: p99 " in err
    assert f"{found[BASELINE].rate:,.0f}" in out + capsys.readouterr().out


def test_a_rate_that_does_not_hold_when_measured_again_is_lowered_until_it_does(bench: Benchmark):
    ((rate, figures),) = confirm(bench, {BASELINE: 1_000.0}, OBJECTIVE, np.random.default_rng(0)).values()
    assert 250 <= rate <= 1_000 / 1.25**2
    assert figures.p99_ms <= OBJECTIVE.p99_ms


def measured(*, failures: int = 0, p99_ms: float = 10, server: float = 0.1, client: float = 0.1) -> LoadMeasurement:
    latencies = np.full(1_000 - failures, p99_ms / 1e3)
    return LoadMeasurement(latencies, failures, 1.0, server, client, redis_reads=0, redis_hits=0)


def test_strain_is_p99_over_its_limit_and_boundless_where_too_many_fail():
    assert OBJECTIVE.limit_ratio(measured(p99_ms=50)) == pytest.approx(0.5)
    assert OBJECTIVE.limit_ratio(measured(p99_ms=300, failures=10)) == pytest.approx(3)
    assert OBJECTIVE.limit_ratio(measured(failures=11)) == math.inf


@pytest.mark.parametrize(
    ("broke", "limit"),
    [
        (measured(server=0.97, client=0.4), "the server"),
        (measured(server=0.5, client=0.95), "the client"),
        (measured(server=0.5, client=0.4), "others on this machine"),
        (measured(server=0.97, failures=500), "failures"),
    ],
)
def test_what_was_out_of_breath_where_it_broke_is_the_limit(bench: Benchmark, broke: LoadMeasurement, limit: str):
    search = RateSearch(
        bench, bench.workloads[0], OBJECTIVE, np.random.default_rng(0), Progress(), {100.0: [broke] * 3}
    )
    assert search.limited_by(RateBracket(80.0, 100.0)) == limit
    assert search.limited_by(RateBracket(20_000.0, None)) == "the search itself: 20,000 a second held"
