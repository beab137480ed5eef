"""Several replicas over one Redis: what one learns the others know in moments, whatever happens to the news of it."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fleets import cluster, watched
from lively import World, naive, replica, until
from servers import Valkey

from index.bundle import Bundle
from index.recommending.profile import trained_profile
from service.errors import ServiceError
from service.events.freshness import EventFreshness
from service.users.profile_cache import ProfileCache

SHARED = {"event_log": "redis", "event_log_safe": False, "redis_budget_ms": 2_000, "redis_retry_s": 0.1}


def use(bundle: Bundle, folder: Path, url: str, **changes: Any) -> Any:
    """Run the steps with two replicas."""

    def run(steps: Any) -> None:
        async def go() -> None:
            async with AsyncExitStack() as stack:
                fields = SHARED | {"redis_url": url} | changes
                worlds = [
                    await stack.enter_async_context(replica(bundle, folder / name, **fields)) for name in ("a", "b")
                ]
                await until(lambda: all(world.live.pubsub and world.live.pubsub.listening for world in worlds))
                await steps(*worlds)

        asyncio.run(go())

    return run


async def knows(world: World, bundle: Bundle, user_id: str, *events: tuple[str, str]) -> bool:
    vector, _, excluded = naive(bundle, user_id, events)
    found = await world.users.find(user_id)
    return bool(abs(found.vector - vector).max() < 1e-4 and set(found.excluded.tolist()) == excluded)


async def learns(world: World, bundle: Bundle, user_id: str, *events: tuple[str, str]) -> None:
    async with asyncio.timeout(60):
        while not await knows(world, bundle, user_id, *events):
            await asyncio.sleep(0.005)


def test_what_a_user_does_at_one_replica_the_other_knows_by_the_news_alone(
    bundle: Bundle, valkey: Valkey, tmp_path: Path
) -> None:
    @use(bundle, tmp_path, valkey.url, live_poll_s=60)
    async def _(one: World, other: World) -> None:
        before = await other.users.find("user-3")
        untouched = await other.users.find("user-4")
        await one.did("user-3", "item-7")
        await learns(other, bundle, "user-3", ("item-7", "click"))
        assert before.source == "user"
        assert other.users.peek("user-4") is untouched
        assert other.counted("reco_live_signals_total", outcome="received") == 1


def test_many_events_travel_in_few_messages(bundle: Bundle, valkey: Valkey, tmp_path: Path) -> None:
    @use(bundle, tmp_path, valkey.url, live_poll_s=60)
    async def _(one: World, other: World) -> None:
        await asyncio.gather(*(one.did(f"user-{i % 29}", f"item-{i % 7}") for i in range(300)))
        await until(lambda: other.counted("reco_live_signals_total", outcome="received") >= 1)
        assert one.counted("reco_live_signals_total", outcome="sent") < 30


BAD_IDS = ("5", "null", "true", '"ann"', '{"a": 1}', "[1, null]")
BAD_MESSAGES = (
    "", "x", "[]", "5", "null", b"\xff", "[" * 100_000, '{"from": 1}', '{"from": "x", "kind": []}',
    *(f'{{"from": "x", "kind": "users", "ids": {ids}}}' for ids in BAD_IDS),
)  # fmt: skip


@pytest.mark.parametrize("news", ["lost", "garbage"])
def test_where_the_news_is_lost_the_log_itself_tells_the_other_replica(
    bundle: Bundle, valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, news: str
) -> None:
    @use(bundle, tmp_path, valkey.url, live_poll_s=0.1)
    async def _(one: World, other: World) -> None:
        await other.users.find("user-3")
        if news == "garbage":
            with valkey.client() as client:
                for message in BAD_MESSAGES:
                    client.publish("reco:news", message)
            await until(lambda: other.counted("reco_live_signals_total", outcome="bad") == len(BAD_MESSAGES))
            assert other.counted("reco_unreadable_values_total", source="messages") == len(BAD_MESSAGES)
            assert other.live.pubsub is not None
            assert other.live.pubsub.listening
        assert one.live.pubsub is not None
        monkeypatch.setattr(one.live.pubsub, "send", lambda kind, ids: None)
        await one.did("user-3", "item-7")
        await learns(other, bundle, "user-3", ("item-7", "click"))


def test_a_profile_in_memory_is_believed_only_so_long_while_nothing_can_be_heard(
    bundle: Bundle,
) -> None:
    now = 100.0
    freshness = EventFreshness(lambda: now, stale_s=5)
    nobody, profile = trained_profile(bundle, 0), trained_profile(bundle, 3)
    kept = ProfileCache(10_000, freshness, nobody)
    kept.put("user-3", profile, freshness.clock())
    freshness.follows_events = True
    now = 1_000_000.0
    assert kept.get("user-3") is profile
    freshness.follows_events = False
    assert kept.get("user-3") is None
    kept.put("user-3", profile, freshness.clock())
    now += 5
    assert kept.get("user-3") is profile
    now += 0.1
    assert kept.get("user-3") is None
    assert kept.last_known("user-3") is profile


def test_news_flows_again_after_redis_was_killed_and_what_was_missed_is_caught_up(
    bundle: Bundle, tmp_path: Path
) -> None:
    config = {"appendonly": "yes", "appendfsync": "always"}
    valkey = Valkey(tmp_path / "valkey", config=config).start()

    @use(bundle, tmp_path, valkey.url, live_poll_s=0.1)
    async def _(one: World, other: World) -> None:
        await one.did("user-3", "item-7")
        await learns(other, bundle, "user-3", ("item-7", "click"))
        valkey.kill()
        await until(lambda: not other.live.freshness.follows_events)
        assert await knows(other, bundle, "user-3", ("item-7", "click"))
        await asyncio.to_thread(valkey.start)
        await until(lambda: one.live.freshness.follows_events and other.live.freshness.follows_events)
        await until(lambda: other.live.pubsub is not None and other.live.pubsub.listening)
        await one.did("user-3", "item-8", "dislike")
        await learns(other, bundle, "user-3", ("item-7", "click"), ("item-8", "dislike"))

    valkey.kill()


def test_a_frozen_redis_is_noticed_and_the_users_in_memory_are_answered_at_once(
    bundle: Bundle, valkey: Valkey, tmp_path: Path
) -> None:
    pid = valkey.pid()

    @use(bundle, tmp_path, valkey.url, live_poll_s=0.1, lru_stale_s=0.5, redis_budget_ms=20)
    async def _(one: World, other: World) -> None:
        await one.did("user-3", "item-7")
        await learns(other, bundle, "user-3", ("item-7", "click"))
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: not other.live.freshness.follows_events)
            await asyncio.sleep(0.5)
            async with asyncio.timeout(60):  # none waits for the frozen server
                for _ in range(50):  # too old to be believed, and yet better than a past without the event
                    assert await knows(other, bundle, "user-3", ("item-7", "click"))
                    assert (await other.users.find("user-5")).source == "user"
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: other.live.freshness.follows_events)
        await learns(other, bundle, "user-5")


def test_a_redis_that_was_flushed_has_no_events_and_neither_has_anybody_in_memory(
    bundle: Bundle, valkey: Valkey, tmp_path: Path
) -> None:
    @use(bundle, tmp_path, valkey.url, live_poll_s=0.1)
    async def _(one: World, other: World) -> None:
        for i in range(5):
            await one.did("user-3", f"item-{i}")
        await until(lambda: len(other.live.trending) == 5)  # so it has read the log to its end
        with valkey.client() as client:
            client.flushall()
        await learns(other, bundle, "user-3")
        await one.did("user-3", "item-9")
        await learns(other, bundle, "user-3", ("item-9", "click"))


@pytest.mark.parametrize("kind", ["string", "garbage in the list"])
def test_another_type_under_one_users_events_spoils_nobody_elses(
    bundle: Bundle, valkey: Valkey, tmp_path: Path, kind: str
) -> None:
    @use(bundle, tmp_path, valkey.url, profile_cache_mb=0)
    async def _(one: World, other: World) -> None:
        await one.did("user-3", "item-7")
        await one.did("user-4", "item-7")
        with valkey.client() as client:
            key = "{reco:events}:user:user-3"
            client.delete(key)
            client.set(key, "x") if kind == "string" else client.rpush(key, "x")
        for _ in range(5):
            found = await asyncio.gather(*(other.users.find(user_id) for user_id in ("user-3", "user-4")))
            assert [profile.source for profile in found] == ["user", "fold_in"]
        await one.did("user-3", "item-8")
        if kind == "string":  # the next event put it right
            await learns(other, bundle, "user-3", ("item-8", "click"))


@pytest.mark.parametrize("fleet", [cluster, watched], ids=["cluster", "sentinel"])
def test_replicas_hear_of_each_other_in_a_cluster_and_under_sentinel_after_a_failover_too(
    bundle: Bundle, tmp_path: Path, fleet: Any
) -> None:
    with fleet(tmp_path / "fleet") as servers:

        @use(bundle, tmp_path, servers.url, live_poll_s=0.2, redis_budget_ms=500)
        async def _(one: World, other: World) -> None:
            await other.users.find("user-3")
            await one.did("user-3", "item-7")
            await learns(other, bundle, "user-3", ("item-7", "click"))
            await asyncio.sleep(0.3)
            servers.kill(0)
            await did_at_last(one, "user-3", "item-8")
            await learns(other, bundle, "user-3", ("item-7", "click"), ("item-8", "click"))


async def did_at_last(world: World, user_id: str, item_id: str) -> None:
    """As a caller does who is told 503: send it again with the same id."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await world.did(user_id, item_id, event_id="again")
            except ServiceError:
                await asyncio.sleep(0.1)


def test_what_cannot_be_sent_does_not_hold_up_what_can(bundle: Bundle, valkey: Valkey, tmp_path: Path) -> None:
    @use(bundle, tmp_path, valkey.url, live_poll_s=60)
    async def _(one: World, other: World) -> None:
        assert one.live.pubsub is not None
        one.live.pubsub.send("users", ["\ud800"])  # in no encoding
        await until(lambda: one.counted("reco_background_task_failures_total", task="message_sender"))
        one.live.pubsub.send("users", ["ann"])
        await until(lambda: other.counted("reco_live_signals_total", outcome="received"))


def test_a_follower_that_ends_no_longer_hears_and_drops_what_it_may_have_missed(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.background.FIRST_S", 0.3)

    async def run() -> None:
        async with replica(bundle, tmp_path, live_poll_s=0.01) as world:
            await world.users.find("user-3")
            on_events = world.live._on_log_events

            def fail(events: Any) -> None:
                world.live.follower._on_events = on_events
                raise MemoryError

            world.live.follower._on_events = fail
            await world.did("user-4", "item-7")
            await until(lambda: world.metrics.failing_tasks)
            assert world.counted("reco_live_hears") == 0
            assert world.users.peek("user-3") is None
            await until(lambda: world.counted("reco_live_hears") == 1)
            await world.did("user-4", "item-8")
            await until(lambda: len(world.live.trending) == 1)

    asyncio.run(run())
