import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Valkey

from service.http.security.rate_limit import Rate, TokenBuckets
from service.http.security.shared_rate_limit import SharedTokenBuckets
from service.redis.client import connect
from service.telemetry.metrics import Metrics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(buckets: TokenBuckets, rate: Rate, times: int, name: str = "shop") -> int:
    """How many of so many requests at once are let in."""
    return sum(buckets.take(name, rate) == 0 for _ in range(times))


def test_a_burst_is_let_in_and_then_so_many_a_second() -> None:
    clock = Clock()
    buckets, rate = TokenBuckets(clock), Rate(10, 20)
    assert taken(buckets, rate, 100) == 20
    clock.now += 0.35
    assert taken(buckets, rate, 100) == 3
    clock.now += 3600
    assert taken(buckets, rate, 100) == 20


def test_whoever_is_refused_is_told_when_it_will_not_be() -> None:
    clock = Clock()
    buckets, rate = TokenBuckets(clock), Rate(4, 1)
    assert buckets.take("shop", rate) == 0
    wait = buckets.take("shop", rate)
    assert wait == pytest.approx(0.25)
    clock.now += wait + 1e-6
    assert buckets.take("shop", rate) == 0


def test_one_caller_does_not_spend_what_is_anothers() -> None:
    buckets, rate = TokenBuckets(Clock()), Rate(1, 5)
    assert taken(buckets, rate, 10, "a") == 5
    assert taken(buckets, rate, 10, "b") == 5


def test_a_new_rate_holds_from_the_next_request_and_fills_nothing_up() -> None:
    buckets = TokenBuckets(Clock())
    assert taken(buckets, Rate(10, 20), 18) == 18
    assert taken(buckets, Rate(10, 1), 5) == 1
    assert taken(buckets, Rate(10, 100), 5) == 0


def test_callers_are_remembered_up_to_a_bound() -> None:
    buckets, rate = TokenBuckets(Clock(), max_buckets=3), Rate(1, 1)
    for name in "abcd":
        assert taken(buckets, rate, 2, name) == 1
    assert taken(buckets, rate, 2, "d") == 0
    assert taken(buckets, rate, 2, "a") == 1  # forgotten


def test_what_a_request_costs_beyond_one_is_taken_from_the_same_bucket() -> None:
    clock = Clock()
    buckets, rate = TokenBuckets(clock), Rate(10, 20)
    assert (buckets.take("shop", rate), buckets.take_more("shop", rate, 14)) == (0, 0)
    assert buckets.take("shop", rate) == 0
    assert buckets.take_more("shop", rate, 9) == pytest.approx(0.5)  # 4 are left
    clock.now += 0.5 + 1e-6
    assert buckets.take_more("shop", rate, 9) == 0
    assert taken(buckets, rate, 5) == 0


def test_what_costs_more_than_a_full_bucket_needs_a_full_one_and_leaves_a_debt() -> None:
    clock = Clock()
    buckets, rate = TokenBuckets(clock), Rate(10, 20)
    assert (buckets.take("shop", rate), buckets.take_more("shop", rate, 99)) == (0, 0)
    assert buckets.take("shop", rate) == pytest.approx(8.1)  # 80 below nothing
    clock.now += 9.9
    assert (buckets.take("shop", rate), buckets.take_more("shop", rate, 99)) == (0, pytest.approx(0.1))


@given(st.floats(0.1, 1000), st.integers(1, 100), st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=30))
def test_never_more_than_the_burst_and_the_rate_over_any_time(
    per_s: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    clock = Clock()
    buckets, rate, let_in = TokenBuckets(clock), Rate(per_s, burst), 0
    for pause, times in asked:
        clock.now += pause
        let_in += taken(buckets, rate, times)
        assert let_in <= burst + per_s * (clock.now - 100) + 1e-6


class Replica:
    """One replica's buckets beside a Redis that it shares with others."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.buckets = TokenBuckets(self.clock)
        self.redis = connect(url)
        self.shared = SharedTokenBuckets(self.buckets, self.redis, "reco", self.metrics, self.clock)

    def syncs(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("reco_rate_limit_syncs_total", {"outcome": outcome}) or 0


SLOW = Rate(0.001, 10)  # next to nothing comes back during a test


def test_replicas_share_one_rate_and_what_was_given_twice_is_paid_back(valkey: Valkey) -> None:
    async def run() -> None:
        one, two = Replica(valkey.url), Replica(valkey.url)
        assert taken(one.buckets, SLOW, 4) == 4
        await one.shared.sync()
        assert taken(two.buckets, SLOW, 1) == 1
        await two.shared.sync()
        assert taken(one.buckets, SLOW, 1) == 1
        await one.shared.sync()
        assert taken(one.buckets, SLOW, 10) == taken(two.buckets, SLOW, 10) - 1 == 4  # at once, unknown to each other
        await one.shared.sync()
        await two.shared.sync()
        wait = two.buckets.take("shop", SLOW)
        assert wait == pytest.approx(6 / SLOW.per_s, rel=0.01)  # 15 of 10 were given: 5 in debt, and one wanted
        for replica in (one, two):
            await replica.redis.aclose()

    asyncio.run(run())


def test_without_redis_each_replica_keeps_the_rate_by_itself_and_an_outage_leaves_no_debt(valkey: Valkey) -> None:
    async def run() -> None:
        replica = Replica(valkey.url)
        valkey.kill()
        assert taken(replica.buckets, SLOW, 100) == 10
        await replica.shared.sync()
        assert replica.syncs("error") == 1
        assert taken(replica.buckets, SLOW, 100) == 0
        replica.clock.now += 5 / SLOW.per_s
        assert taken(replica.buckets, SLOW, 100) == 5
        await replica.shared.sync()
        valkey.start()
        replica.clock.now += 1 / SLOW.per_s
        assert taken(replica.buckets, SLOW, 1) == 1
        await replica.shared.sync()
        assert replica.syncs("done") == 1
        assert taken(replica.buckets, SLOW, 100) == 9
        await replica.redis.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("command", [["SET", "x"], ["HSET", "tokens", "none"], ["HSET", "at", ""], ["RPUSH", "x"]])
def test_what_is_not_ours_under_the_key_is_replaced(valkey: Valkey, command: list[str]) -> None:
    async def run() -> None:
        replica = Replica(valkey.url)
        with valkey.client() as client:
            client.execute_command(command[0], "reco:rate:shop", *command[1:])
            assert taken(replica.buckets, SLOW, 4) == 4
            await replica.shared.sync()
            await replica.shared.sync()
            assert replica.syncs("done") == 1
            labels = {"source": "rates"}
            assert replica.metrics.registry.get_sample_value("reco_unreadable_values_total", labels) == 1
            assert client.hget("reco:rate:shop", "tokens") == b"6"
            assert 0 < client.pttl("reco:rate:shop") <= 4_001_000 + 1_000
        await replica.redis.aclose()

    asyncio.run(run())


def test_a_frozen_redis_holds_up_no_request(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.security.shared_rate_limit.BUDGET_S", 0.05)

    async def run() -> None:
        replica = Replica(valkey.url)
        with valkey.client() as client:
            client.execute_command("CLIENT", "PAUSE", "2000")
        assert taken(replica.buckets, SLOW, 1) == 1
        settling = asyncio.ensure_future(replica.shared.sync())
        await asyncio.sleep(0)
        assert taken(replica.buckets, SLOW, 1) == 1
        await settling
        assert replica.syncs("error") == 1
        await replica.redis.aclose()

    asyncio.run(run())


@pytest.mark.parametrize(
    "stored",
    [{"tokens": "nan", "at": "1"}, {"tokens": "-nan", "at": "nan"}, {"tokens": "1e308", "at": "1e308"},
     {"tokens": "inf", "at": "-inf"}, {"tokens": "x"}, {"other": "y"}],
)  # fmt: skip
def test_a_value_of_another_program_neither_lifts_a_limit_nor_stops_the_syncs(
    valkey: Valkey, stored: dict[str, str]
) -> None:
    async def run() -> None:
        one = Replica(valkey.url)
        with valkey.client() as client:
            client.hset("reco:rate:shop", mapping=stored)
        assert taken(one.buckets, SLOW, 4) == 4
        assert taken(one.buckets, SLOW, 2, "other") == 2
        await one.shared.sync()
        assert (one.syncs("done"), one.syncs("error")) == (1, 0)
        assert taken(one.buckets, SLOW, 20) <= 10
        assert taken(one.buckets, SLOW, 20, "other") == 8
        await one.redis.aclose()

    asyncio.run(run())
