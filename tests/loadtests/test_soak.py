"""The soak test over a real service; no test depends on how much memory it uses."""

import asyncio
import json
import random
import subprocess
import sys
from itertools import islice
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from loadtests.bench_servers import BARE, BenchKey, available_cores, running
from loadtests.load_client import Pool, TimedResponse, send_all
from loadtests.random_bundle import RandomBundleSizes, publish_random
from loadtests.request_mix import MixRequest, request_mix
from loadtests.soak import FULL, MOST_WARM_UPS, MemoryUse, SoakResult, fill_caches, fullness

SMALL = ["--requests", "1000", "--items", "300", "--users", "500", "--seen", "5", "--size", "16"]


def soak(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadtests.soak", *SMALL, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_response_has_the_expected_status_and_the_caches_are_warmed_up():
    done = soak("--warm-up", "200", "--most-growth-mb", "500")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert (record["failures"], record["never_asked"]) == ({}, 0)
    assert sum(record["answers"].values()) == 1000
    assert {"events: 202", "explain: 200", "unknown item: 404", "bad event: 422", "no key: 401"} <= set(
        record["answers"]
    )
    assert record["warm_up"] == MOST_WARM_UPS * 200  # so few users do not fill the caches
    assert 0 < min(record["caches_full"].values()) <= max(record["caches_full"].values()) < FULL
    assert len(record["resident_mb"]) == 11
    assert record["memory_mb"]["most"]["resident"] >= record["memory_mb"]["start"]["resident"] > 10


def finished(*, requests: int = 100, growth_mb: float = 0.0, status: int = 200) -> SoakResult:
    result = SoakResult([MemoryUse(10, 10), MemoryUse(10 + growth_mb, 10)])
    for _ in range(requests):
        result.add(MixRequest("a", b"", 200), status)
    return result


def test_a_soak_passes_unless_memory_grew_too_much_or_a_request_failed_or_was_not_sent():
    assert finished(growth_mb=5.0).passes(100, 5.0)
    assert not finished(growth_mb=5.1).passes(100, 5.0)
    assert not finished(status=500).passes(100, 5.0)
    assert not finished(requests=99).passes(100, 5.0)


def test_a_soak_that_is_ended_early_reports_what_it_found_and_fails():
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.soak", *SMALL, "--warm-up", "0", "--requests", "30000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert next(line for line in process.stderr if line.strip()).startswith("sending: 3,000 of 30,000, ")
    process.terminate()
    out, _ = process.communicate(timeout=60)
    record = json.loads(out.splitlines()[-1])
    assert process.returncode == 1
    assert record["never_asked"] > 0
    assert sum(record["answers"].values()) + record["never_asked"] == 30_000
    assert record["failures"] == {}


def test_the_warm_up_ends_when_every_cache_is_full(tmp_path: Path):
    sizes, key = RandomBundleSizes(300, 500, 5, 16), BenchKey.create(tmp_path / "keys.jsonl")
    publish_random(tmp_path / "bundles", sizes, np.random.default_rng(0))
    with running(tmp_path / "bundles", available_cores(), key, (BARE,), baseline=False) as servers:
        service, mix = servers.children[BARE], request_mix(sizes, key.key, random.Random(0))
        assert fill_caches(service, mix, 100, connections=2) == 100
        assert fullness(service) == {"answers": 1.0, "profiles": 1.0}


@pytest.mark.parametrize(
    ("memory", "grew"), [([10, 10, 10], 0), ([10, 19, 12], 9), ([10, 10, 14], 4), ([10, 9, 8], -1)]
)
def test_growth_is_from_the_start_to_the_larger_of_middle_and_end(memory: list[float], grew: float):
    assert SoakResult([MemoryUse(mb, mb) for mb in memory]).growth_mb == grew


def result_of(replies: list[bytes], requests: list[MixRequest]) -> SoakResult:
    """Send requests to a server that sends these replies, one per request, and then closes the connection."""
    found, left = SoakResult(), iter(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(next(left))
        except (asyncio.IncompleteReadError, ConnectionError, StopIteration):
            writer.close()

    async def send() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await asyncio.to_thread(send_one_by_one, server.sockets[0].getsockname()[1])

    def send_one_by_one(port: int) -> None:
        with Pool(port, 1) as pool:
            send_all(pool, iter(requests), message=attrgetter("request"), on_response=count)

    def count(request: MixRequest, response: TimedResponse) -> None:
        found.add(request, response.status)

    asyncio.run(send())
    return found


def test_an_unexpected_status_and_a_missing_response_are_failures():
    said = [f"HTTP/1.1 {status} said\r\ncontent-length: 0\r\n\r\n".encode() for status in (200, 500, 404)]
    get = b"GET / HTTP/1.1\r\n\r\n"
    requests = [
        MixRequest("a", get, 200),
        MixRequest("a", get, 200),
        MixRequest("b", get, 404),
        MixRequest("b", get, 404),
    ]
    found = result_of(said, [*requests, MixRequest("never", get, 200)])
    assert found.responses == {("a", 200): 1, ("a", 500): 1, ("b", 404): 1, ("b", 0): 1}
    assert found.failures == {("a", 500): 1, ("b", 0): 1}


def test_equal_seeds_give_equal_requests_and_few_are_repeated():
    sizes = RandomBundleSizes(n_items=1_000, n_users=10_000)
    first, again = ([*islice(request_mix(sizes, "reco_key", random.Random(0)), 2_000)] for _ in range(2))
    assert first == again
    assert len({one.request for one in first}) > 1_800
    assert {one.status for one in first} == {200, 202, 401, 404, 422}
