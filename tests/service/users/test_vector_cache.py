import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import Valkey

from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.vector_cache import VectorCache, open_cache, within
from service.users.vector_keys import user_key

OWN = np.arange(4, dtype=np.float32)
OTHER = OWN + 10
KEY = user_key("reco", "b1", "ann")

Use = Callable[[VectorCache, Metrics], Awaitable[None]]


def use(url: str, steps: Use, **changes: Any) -> None:
    """Open a cache on the server, take the steps, close it."""
    metrics = Metrics()

    async def run() -> None:
        # A patient budget: this machine may be busy, and only some tests are about being late.
        patient = {"redis_budget_ms": 2000, "redis_retry_s": 0.2}
        settings = Settings(registry=Path("none"), redis_url=url, **(patient | changes))
        async with open_cache(settings, metrics, random.Random(0)) as cache:
            assert cache is not None
            await steps(cache, metrics)

    asyncio.run(run())


def reads(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("reco_redis_reads_total", {"outcome": outcome}) or 0.0


def writes(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("reco_redis_writes_total", {"outcome": outcome}) or 0.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_vector_is_written_after_a_miss_and_read_the_next_time(valkey: Valkey) -> None:
    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        vector, cached = await cache.get(KEY, OWN)
        assert (vector.tolist(), cached) == (OWN.tolist(), False)
        await until(lambda: writes(metrics, "done") == 1)
        vector, cached = await cache.get(KEY, OTHER)
        assert (vector.tolist(), cached) == (OWN.tolist(), True)

    use(valkey.url, steps)
    with valkey.client() as client:
        assert client.get(b"reco:b1:user:=ann") == OWN.tobytes()


def test_the_time_to_live_varies_around_the_setting(valkey: Valkey) -> None:
    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        for i in range(20):
            await cache.get(b"key-%d" % i, OWN)
        await until(lambda: writes(metrics, "done") == 20)

    use(valkey.url, steps, redis_ttl_s=1000, redis_ttl_jitter=0.2)
    with valkey.client() as client:
        left = {client.ttl(b"key-%d" % i) for i in range(20)}
    assert len(left) > 10
    assert all(795 <= seconds <= 1200 for seconds in left)


@pytest.mark.parametrize("data", [b"", OWN.tobytes()[:-1], OWN.tobytes() * 2, np.float32([1, 2, np.nan, 4]).tobytes()])
def test_unusable_bytes_are_ignored_counted_and_replaced(valkey: Valkey, data: bytes) -> None:
    with valkey.client() as client:
        client.set(KEY, data)

    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        vector, cached = await cache.get(KEY, OWN)
        assert (vector.tolist(), cached) == (OWN.tolist(), False)
        assert reads(metrics, "bad") == 1
        await until(lambda: writes(metrics, "done") == 1)
        assert (await cache.get(KEY, OTHER))[1]

    use(valkey.url, steps)


def test_another_type_under_our_key_is_a_miss_and_replaced(valkey: Valkey) -> None:
    with valkey.client() as client:
        client.lpush(KEY, "x")

    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        assert not (await cache.get(KEY, OWN))[1]
        await until(lambda: writes(metrics, "done") == 1)
        assert (await cache.get(KEY, OTHER))[1]

    use(valkey.url, steps)


def test_many_requests_at_once_share_a_round_trip_and_get_their_own_vectors(valkey: Valkey) -> None:
    vectors = [np.full(4, i, np.float32) for i in range(50)]
    with valkey.client() as client:
        for i, vector in enumerate(vectors):
            client.set(b"key-%d" % i, vector.tobytes())
        before = client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"]

        async def steps(cache: VectorCache, metrics: Metrics) -> None:
            answers = await asyncio.gather(*(cache.get(b"key-%d" % (i % 50), OWN) for i in range(200)))
            assert all(found[0] == i % 50 and cached for i, (found, cached) in enumerate(answers))
            assert reads(metrics, "hit") == 200

        use(valkey.url, steps)
        assert client.info("commandstats")["cmdstat_mget"]["calls"] - before <= 3


def test_a_frozen_server_costs_the_budget_then_nothing_and_no_late_reply_meets_another_key(valkey: Valkey) -> None:
    with valkey.client() as client:
        client.set(KEY, OTHER.tobytes())
        client.set(b"bob", (OTHER + 1).tobytes())
    pid = valkey.pid()

    async def frozen(cache: VectorCache, metrics: Metrics) -> None:
        os.kill(pid, signal.SIGSTOP)
        for _ in range(3):
            assert not (await cache.get(KEY, OWN))[1]
        assert (reads(metrics, "late"), cache.state) == (3, "open")
        for _ in range(100):
            await cache.get(KEY, OWN)
        assert (reads(metrics, "late"), reads(metrics, "skipped")) == (3, 100)

    async def thawed(cache: VectorCache, metrics: Metrics) -> None:
        os.kill(pid, signal.SIGSTOP)
        for _ in range(3):
            await cache.get(KEY, OWN)
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.3)
        for _ in range(20):
            vector, cached = await cache.get(b"bob", OWN)
            assert (vector.tolist(), cached) == ((OTHER + 1).tolist(), True)
        assert cache.state == "closed"

    try:
        use(valkey.url, frozen, redis_budget_ms=20, redis_retry_s=600)
    finally:
        os.kill(pid, signal.SIGCONT)
    use(valkey.url, thawed, redis_budget_ms=400)


def test_a_killed_server_is_left_alone_and_found_again_when_it_is_back(valkey: Valkey) -> None:
    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        assert not (await cache.get(KEY, OWN))[1]
        await until(lambda: writes(metrics, "done") == 1)
        valkey.kill()
        for _ in range(10):
            assert (await cache.get(KEY, OWN))[0].tolist() == OWN.tolist()
        assert cache.state == "open"
        assert reads(metrics, "error") == 3
        await asyncio.to_thread(valkey.start)
        await until(lambda: cache.state == "open")
        await asyncio.sleep(0.3)
        await cache.get(KEY, OWN)
        assert cache.state == "closed"
        await until(lambda: writes(metrics, "done") == 2)

    use(valkey.url, steps)


def test_a_server_that_was_never_there_costs_no_start(tmp_path: Path) -> None:
    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        assert (await cache.get(KEY, OWN))[0].tolist() == OWN.tolist()

    use(f"unix://{tmp_path}/absent.sock", steps)


def test_a_full_server_refuses_writes_and_reads_go_on(valkey: Valkey) -> None:
    with valkey.client() as client:
        client.set(KEY, OTHER.tobytes())
        client.config_set("maxmemory", "1")

    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        assert not (await cache.get(b"new", OWN))[1]
        await until(lambda: writes(metrics, "error") == 1)
        assert (await cache.get(KEY, OWN))[1]
        assert cache.state == "closed"

    use(valkey.url, steps)


def test_writes_beyond_the_bound_are_dropped_and_counted(valkey: Valkey) -> None:
    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        await asyncio.gather(*(cache.get(b"key-%d" % i, OWN) for i in range(30)))
        await until(lambda: writes(metrics, "done") + writes(metrics, "dropped") == 30)
        assert writes(metrics, "dropped") >= 20

    use(valkey.url, steps, redis_pending_writes=5)


def test_closing_does_not_wait_for_a_frozen_server(valkey: Valkey) -> None:
    pid = valkey.pid()

    async def steps(cache: VectorCache, metrics: Metrics) -> None:
        await cache.get(KEY, OWN)
        os.kill(pid, signal.SIGSTOP)

    with ThreadPoolExecutor(1) as pool:
        closed = pool.submit(use, valkey.url, steps, redis_budget_ms=600_000)
        try:
            closed.result(timeout=60)
        finally:
            os.kill(pid, signal.SIGCONT)


def test_work_that_swallows_a_cancellation_is_cancelled_again() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def run() -> None:
        async with asyncio.timeout(60):
            with pytest.raises(TimeoutError, match="no response within 1 ms"):
                await within(stubborn(), 0.001)

    asyncio.run(run())
