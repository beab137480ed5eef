"""Redis is hurt while the service answers: not one request may fail, and the cache must come back by itself."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from asking import check, load
from servers import Valkey, counted, serving, wait_until

READS = 'reco_redis_reads_total{{outcome="{}"}}'


@pytest.fixture
def cached(registry: Path, valkey: Valkey) -> Iterator[httpx.Client]:
    settings = {"redis_url": valkey.url, "redis_retry_s": 0.2, "redis_budget_ms": 50}
    with serving(registry=registry, profile_cache_mb=0, **settings) as client:  # so that Redis is asked every time
        yield client


def hits_again(client: httpx.Client) -> None:
    """Wait until vectors come from Redis, the circuit closed."""
    before = counted(client, READS.format("hit"))
    wait_until(lambda: counted(client, READS.format("hit")) > before + 5)
    assert client.get("/readyz").json()["redis"] == "closed"


def test_a_user_vector_comes_from_redis_the_second_time(cached: httpx.Client, valkey: Valkey, registry: Path) -> None:
    bundle_id = cached.get("/recommend/user-1").json()["bundle"]
    key = f"reco:{bundle_id}:user:=user-1"
    with valkey.client() as client:
        wait_until(lambda: client.exists(key))
        assert 0 < client.ttl(key) <= 86_400 * 1.1
    cached.get("/recommend/user-2")
    cached.get("/recommend/user-1")
    assert counted(cached, 'reco_vectors_total{source="redis"}') == 1
    assert cached.get("/readyz").json()["redis"] == "closed"


def test_redis_killed_in_mid_run_and_restarted_costs_no_request(cached: httpx.Client, valkey: Valkey) -> None:
    with load(cached) as answers:
        hits_again(cached)
        valkey.kill()
        wait_until(lambda: counted(cached, 'reco_redis_circuit{state="open"}') == 1)
        assert cached.get("/readyz").status_code == 200
        time.sleep(0.3)
        valkey.start()
        hits_again(cached)
    check(answers)
    assert counted(cached, READS.format("skipped")) > 0


def test_redis_frozen_under_load_costs_no_request_and_is_soon_skipped(cached: httpx.Client, valkey: Valkey) -> None:
    pid = valkey.pid()
    with load(cached) as answers:
        hits_again(cached)
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: counted(cached, READS.format("late")) >= 3)
            wait_until(lambda: counted(cached, READS.format("skipped")) > 50)
        finally:
            os.kill(pid, signal.SIGCONT)
        hits_again(cached)
    check(answers)


@pytest.mark.parametrize("hurt", ["flushall", "garbage"])
def test_redis_flushed_or_filled_with_garbage_costs_no_request(cached: httpx.Client, valkey: Valkey, hurt: str) -> None:
    with load(cached) as answers, valkey.client() as client:
        hits_again(cached)
        actions: dict[str, Callable[[], object]] = {
            "flushall": client.flushall,
            "garbage": lambda: [client.set(key, b"garbage") for key in client.scan_iter()],
        }
        actions[hurt]()
        outcome = READS.format("miss" if hurt == "flushall" else "bad")
        wait_until(lambda: counted(cached, outcome) > 0)
        hits_again(cached)
    check(answers)
