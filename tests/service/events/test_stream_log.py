"""What may happen to the Redis that keeps the log: nothing is acknowledged that could be lost."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fleets import cluster, watched
from made_events import made, several
from servers import Valkey, wait_until

from index.errors import InputError
from service.events.arms import person_of
from service.events.log import EventLog, LogUnavailable
from service.events.open_log import open_log
from service.settings import Settings
from service.storage.redis_server import RedisServer
from service.telemetry.metrics import Metrics

SAFE = {"appendonly": "yes", "appendfsync": "always"}
STREAM = "{reco:events}:stream"

Steps = Callable[..., Awaitable[None]]


@pytest.fixture
def safe(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey", config=dict(SAFE)).start()
    yield server
    server.kill()


def use(url: str, steps: Steps, *, logs: int = 1, **changes: Any) -> None:
    """Take the steps with one log, or with as many as there are replicas."""
    fields = {"event_log": "redis", "redis_url": url, "redis_budget_ms": 2_000, "event_log_timeout_s": 2.0} | changes
    settings = Settings(registry=Path("none"), **fields)  # type: ignore[arg-type]

    async def run() -> None:
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(open_log(settings, Metrics(), time.time)) for _ in range(logs)]
            await steps(*opened)

    asyncio.run(run())


async def ids(log: EventLog) -> list[str]:
    return [event.event_id for _, event in await log.read(0, 100_000)]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"appendonly": "no"}, "appendonly is off"),
        (SAFE | {"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru"),
    ],
)
def test_a_redis_that_may_lose_events_is_refused_unless_the_operator_accepts_it(
    tmp_path: Path, config: dict[str, str], said: str
) -> None:
    server = Valkey(tmp_path, config=config).start()

    async def steps(log: EventLog) -> None:
        assert (await log.append(several(3))).n_new == 3

    try:
        with pytest.raises(InputError, match=said):
            use(server.url, steps)
        use(server.url, steps, event_log_safe=False)
    finally:
        server.kill()


@pytest.fixture
def evicting(safe: Valkey) -> Valkey:
    """A Redis that evicts events, and the user `blind` who may not see that."""
    with safe.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-info")
    return safe


def as_blind(server: Valkey) -> str:
    return server.url.replace("//", "//blind:pw@")


def test_a_redis_that_does_not_show_whether_it_is_safe_is_refused_at_the_start(evicting: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        assert (await log.append([made("1")])).n_new == 1

    with pytest.raises(InputError, match=r"cannot be checked: .*'info'.*or RECO_EVENT_LOG_SAFE=false"):
        use(as_blind(evicting), steps)
    use(as_blind(evicting), steps, event_log_safe=False)


def test_a_redis_that_comes_later_and_is_not_safe_acknowledges_and_keeps_nothing(safe: Valkey) -> None:
    safe.kill()

    async def steps(log: EventLog) -> None:
        assert log.problem is not None
        safe.config["maxmemory-policy"] = "allkeys-lru"
        await asyncio.to_thread(safe.start)
        with pytest.raises(LogUnavailable, match="maxmemory-policy is allkeys-lru"):
            await log.append([made("1")])
        assert await ids(log) == []

    use(safe.url, steps, event_log_timeout_s=1.0)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction", "allkeys-lru"),
        ("ACL SETUSER default -info", "ACL SETUSER default +info", "cannot be checked"),
        ("ACL SETUSER default -xadd", "ACL SETUSER default +xadd", "'xadd'"),
    ],
)
def test_a_redis_that_becomes_unsafe_refuses_events_until_it_is_safe_again(
    safe: Valkey, before: str, after: str, said: str
) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made("1")])
        assert log.problem is None
        with safe.client() as client:
            client.execute_command(*before.split())
            with pytest.raises(LogUnavailable, match=said):
                await log.append([made("2")])
            assert said in str(log.problem)
            assert await ids(log) == ["1"]
            client.execute_command(*after.split())
        await log.append([made("2")])
        assert log.problem is None

    use(safe.url, steps, event_log_timeout_s=0.5)


def test_a_stream_needs_a_redis() -> None:
    async def run() -> None:
        async with open_log(Settings(registry=Path("none"), event_log="redis"), Metrics(), time.time):
            pass

    with pytest.raises(InputError, match="expected RECO_REDIS_URL"):
        asyncio.run(run())


def test_a_redis_without_its_file_on_disk_acknowledges_nothing(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        with safe.client() as client:
            client.config_set("appendonly", "no")
        with pytest.raises(LogUnavailable, match="appendonly is off"):
            await log.append([made("1")])

    use(safe.url, steps, event_log_timeout_s=1.0)


def test_replicas_that_must_have_an_event_and_do_not_exist_are_missed(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        with pytest.raises(LogUnavailable, match=r"synced by \[1, 0\] \(local, replicas\), expected \[1, 1\]"):
            await log.append([made("1")])

    use(safe.url, steps, event_log_replicas=1, event_log_timeout_s=1.0)


def test_replicas_of_the_service_share_one_log(safe: Valkey) -> None:
    async def steps(one: EventLog, other: EventLog) -> None:
        both = [log.append(several(10, start=5 * i)) for i in range(20) for log in (one, other)]
        assert sum([appended.n_new for appended in await asyncio.gather(*both)]) == 105
        assert sorted(await ids(one)) == sorted(event.event_id for event in several(105))
        await one.append([made("of ann", kind="like")])
        assert (await other.user_events("ann"))[-1].event_id == "of ann"

    use(safe.url, steps, logs=2)


def test_a_killed_redis_has_every_acknowledged_event_when_it_is_back(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        acknowledged: set[str] = set()

        async def write(caller: int) -> None:
            for i in range(50):
                event = made(f"{caller}-{i}")
                try:
                    await log.append([event])
                except LogUnavailable:
                    return
                acknowledged.add(event.event_id)

        async def kill() -> None:
            while len(acknowledged) < 200:
                await asyncio.sleep(0.002)
            os.kill(pid, signal.SIGKILL)

        pid = safe.pid()
        await asyncio.gather(kill(), *(write(caller) for caller in range(40)))
        assert 200 <= len(acknowledged) < 2_000
        with pytest.raises(LogUnavailable):
            await log.user_events("ann")
        await asyncio.to_thread(safe.start)
        held = await ids(log)
        assert acknowledged <= set(held)
        assert len(held) == len(set(held))
        again = [made(f"{caller}-{i}") for caller in range(40) for i in range(50)]
        appended = await log.append(again)
        assert appended.n_known == len(held)
        assert len(await ids(log)) == 2_000

    use(safe.url, steps)


def test_events_that_come_while_a_new_master_is_made_wait_for_it_and_are_refused_by_none(tmp_path: Path) -> None:
    with watched(tmp_path) as fleet:

        async def steps(log: EventLog) -> None:
            await log.append(several(10))
            with fleet.client(-1) as replica:
                await asyncio.to_thread(wait_until, lambda: replica.xlen(STREAM) == 10)
            fleet.kill(0)
            during = [asyncio.create_task(log.append([made(f"during-{i}")])) for i in range(5)]
            assert [appended.n_new for appended in await asyncio.gather(*during)] == [1] * 5
            assert len(await ids(log)) == 15

        use(fleet.url, steps, event_log_safe=False, event_log_timeout_s=20.0)


def test_a_log_that_stays_away_is_waited_for_once_and_then_tried_once_a_write(
    safe: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, disconnect_idle = [0], RedisServer.disconnect_idle

    async def counted(client: RedisServer) -> None:  # what follows every try that failed
        tries[-1] += 1
        await disconnect_idle(client)

    monkeypatch.setattr(RedisServer, "disconnect_idle", counted)

    async def steps(log: EventLog) -> None:
        safe.kill()
        for i in range(2):
            with pytest.raises(LogUnavailable):
                await log.append([made(str(i))])
            tries.append(0)
        assert tries[0] > 1
        assert tries[1] == 1
        await asyncio.to_thread(safe.start)
        assert (await log.append([made("0")])).n_new == 1

    use(safe.url, steps, event_log_timeout_s=1.0)


def test_a_redis_that_is_away_at_the_start_is_found_when_it_comes(safe: Valkey) -> None:
    safe.kill()

    async def steps(log: EventLog) -> None:
        with pytest.raises(LogUnavailable, match="Redis failed") as refused:
            await log.append([made("1")])
        assert refused.value.headers == {"Retry-After": "5"}
        await asyncio.to_thread(safe.start)
        assert (await log.append([made("1")])).n_new == 1

    use(safe.url, steps, event_log_timeout_s=1.0)


def test_a_frozen_redis_costs_readers_three_budgets_and_then_nothing(safe: Valkey) -> None:
    pid = safe.pid()

    async def steps(log: EventLog) -> None:
        await log.append([made("1")])
        os.kill(pid, signal.SIGSTOP)
        refusals = []
        for _ in range(50):
            with pytest.raises(LogUnavailable) as refused:
                await log.user_events("ann")
            refusals.append(refused.value.detail)
        assert sum("TimeoutError" in detail for detail in refusals) == 3  # then the circuit is open

    try:
        use(safe.url, steps, redis_budget_ms=100, redis_retry_s=600, event_log_timeout_s=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_redis_refuses_events_until_it_thaws(safe: Valkey) -> None:
    pid = safe.pid()

    async def steps(log: EventLog) -> None:
        await log.append([made("1")])
        os.kill(pid, signal.SIGSTOP)
        for _ in range(3):
            with pytest.raises(LogUnavailable):
                await log.user_events("ann")
        with pytest.raises(LogUnavailable, match="TimeoutError"):
            await log.append([made("2")])
        os.kill(pid, signal.SIGCONT)
        assert (await log.append([made("2")])).n_new + (await log.append([made("2")])).n_known in (1, 2)
        await asyncio.sleep(0.3)
        assert len(await log.user_events("ann")) == 2

    try:
        use(safe.url, steps, redis_budget_ms=100, redis_retry_s=0.2, event_log_timeout_s=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_full_redis_refuses_events_keeps_none_of_them_and_takes_them_later(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        await log.append(several(10))
        with safe.client() as client:
            client.config_set("maxmemory", "1")
            with pytest.raises(LogUnavailable, match="used memory > 'maxmemory'"):
                await log.append(several(10, start=10))
            assert len(await ids(log)) == len(await log.user_events("ann")) == 10
            client.config_set("maxmemory", "0")
        assert (await log.append(several(10, start=10))).n_new == 10

    use(safe.url, steps, event_log_timeout_s=1.0)


def test_another_type_under_the_stream_refuses_and_under_what_is_derived_is_replaced(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        with safe.client() as client:
            client.set(STREAM, "not a stream")
            with pytest.raises(LogUnavailable, match="WRONGTYPE"):
                await log.append([made("1", request_id="r1")])
            client.delete(STREAM)
            day = int(time.time() // 86_400)
            of_arms = ("arms", "arm:x/1/a", "arm_sums:x/1/a")
            for key in ("user:ann", "days", "join:r1", f"figures:{day}", f"sums:{day}", *of_arms):
                client.set("{reco:events}:" + key, "garbage")
        assert await log.counts_since(0) == []
        now = {"request_id": "r1", "timestamp": time.time()}
        assert (await log.append([made("1", **now), made("2", kind="impression", arm="x/1/a", **now)])).n_new == 2
        assert (await log.arm_totals(["x/1/a"]))["x/1/a"].users == 1
        assert [event.event_id for event in await log.user_events("ann")] == ["1"]
        assert await log.counts_since(0)

    use(safe.url, steps, event_log_timeout_s=1.0)


def test_users_of_an_arm_expire_after_the_retention_of_events_and_its_sums_later(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made("1", kind="impression", arm="x/1/a", timestamp=time.time())])
        with safe.client() as client:
            days = [client.ttl("{reco:events}:" + key) / 86_400 for key in ("arm:x/1/a", "arm_sums:x/1/a")]
            assert [round(found) for found in days] == [2, 400]

    use(safe.url, steps, event_retention_days=2)


def test_garbage_inside_what_is_derived_neither_fails_a_write_nor_quality(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        now = time.time()
        day, prefix = int(now // 86_400), "{reco:events}:"
        with safe.client() as client:
            client.hset(prefix + "join:r1", mapping={"bucket": "x", "bundle": "\xff", "listed": "many", "=item-1": "?"})
            client.zadd(prefix + "days", {"garbage": day, "9" * 5_000: day, str(day - 1): day - 1, str(day): day})
            client.set(prefix + f"sums:{day - 1}", "garbage")
            client.hset(prefix + "arm:x/1/a", mapping={person_of("ann"): "1 2 many"})
            client.hset(prefix + "arm_sums:x/1/a", mapping={"users": "many", b"\xff": "1", "more": "nan"})
            for key in (f"figures:{day}", f"sums:{day}"):
                mapping = {
                    b"\xff": "1",
                    "a:b": "x",
                    "x:y:z": "1",
                    "answers:": "9" * 30,
                    f"{int(now)}:answers:": "9" * 30,
                }
                client.hset(prefix + key, mapping=mapping)
            impression = {"kind": "impression", "request_id": "r1", "timestamp": now, "arm": "x/1/a"}
            assert (await log.append([made("1", **impression), made("2", request_id="r1", timestamp=now)])).n_new == 2
            for since in (0, now - 600):
                counted = {count.name: count.n for count in await log.counts_since(since)}
                assert (counted["answers"], counted["clicked"]) == (1, 1)
            totals = (await log.arm_totals(["x/1/a"]))["x/1/a"]
            assert (totals.users, totals.shown, totals.clicks) == (1, 1, 1)

    use(safe.url, steps)


def test_requests_that_ask_at_once_share_a_round_trip_and_get_their_own_events(safe: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made(str(i), user_id=f"user-{i}") for i in range(100)])
        await log.user_events("user-0")
        with safe.client() as client:
            before = client.info("stats")["total_connections_received"]
            lists = await asyncio.gather(*(log.user_events(f"user-{i}") for i in range(100)))
            assert client.info("stats")["total_connections_received"] == before
        assert [events[0].event_id for events in lists] == [str(i) for i in range(100)]

    use(safe.url, steps)


@pytest.mark.parametrize("start", [cluster, watched], ids=["cluster", "sentinel"])
def test_a_cluster_and_a_watched_master_keep_the_log_and_lose_a_master(start: Any, tmp_path: Path) -> None:
    with start(tmp_path) as fleet:

        def sent() -> int:
            with fleet.client(0) as master:
                return int(master.info("replication")["master_repl_offset"])

        async def steps(log: EventLog) -> None:
            await log.append(several(1_000))
            assert await log.count_since(0) == 1_000
            assert len(await log.user_events("ann")) == 100
            with fleet.client(-1) as replica:  # which the service was not told to wait for
                await asyncio.to_thread(wait_until, lambda: replica.info("replication")["slave_repl_offset"] >= sent())
            fleet.kill(0)
            async with asyncio.timeout(60):
                while True:
                    try:
                        await log.append([made("after")])
                        break
                    except LogUnavailable:
                        await asyncio.sleep(0.05)
            assert len(await ids(log)) == 1_001

        # Of the cluster's masters the first has a replica, and holds the log of a namespace of this name.
        use(fleet.url, steps, event_log_safe=False, namespace="a")
