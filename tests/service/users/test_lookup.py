import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from bundles import make_content
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import World, naive, replica
from servers import publish

from index.bundle import Bundle
from index.recency import Recency
from index.recommending.profile import Profile, trained_profile
from service.errors import UnknownUserError
from service.events.event import Event
from service.events.freshness import EventFreshness
from service.events.log import LogUnavailable
from service.settings import MEGABYTE
from service.users.lookup import Source
from service.users.profile_cache import ENTRY_BYTES, OUTDATED, ProfileCache

KINDS = ("view", "click", "like", "purchase", "dislike", "impression")
run_number = itertools.count()

acts = st.tuples(
    st.sampled_from(("user-1", "user-29", "new")),
    st.sampled_from([*(f"item-{i}" for i in range(12)), "gone"]),
    st.sampled_from(KINDS),
)
steps = st.lists(st.tuples(st.sampled_from(("ask", "do", "both")), acts), max_size=25)


def same(profile: Profile, bundle: Bundle, user_id: str, events: list[tuple[str, str]]) -> None:
    vector, past, excluded = naive(bundle, user_id, events)
    np.testing.assert_allclose(profile.vector, vector, rtol=1e-4, atol=1e-5)
    assert len(profile.past) == len(past)
    assert (set(profile.past.tolist()), set(profile.excluded.tolist())) == (past, excluded)


@given(steps=steps)
@settings(max_examples=30)
def test_whatever_users_do_and_whenever_they_ask_they_get_the_profile_of_the_formula(
    bundle: Bundle, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, tuple[str, str, str]]]
) -> None:
    """Asked in the middle of an event, a profile is that of before or after it; asked afterwards, that of after."""

    async def run() -> None:
        done: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        folder = tmp_path_factory.mktemp("log")
        async with replica(bundle, folder, profile_cache_mb=0.002, live_poll_s=60) as world:
            for step, (user_id, item_id, kind) in steps:
                if step == "both":
                    await asyncio.gather(world.users.find(user_id), world.did(user_id, item_id, kind))
                elif step == "do":
                    await world.did(user_id, item_id, kind)
                if step != "ask":
                    done[user_id].append((item_id, kind))
                same(await world.users.find(user_id), bundle, user_id, done[user_id])

    asyncio.run(run())


def lively(bundle: Bundle, folder: Path, **changes: object) -> Callable[..., None]:
    """Run the steps against one replica."""

    def use(steps: Callable[[World], object]) -> None:
        async def run() -> None:
            async with replica(bundle, folder, **changes) as world:
                await steps(world)  # type: ignore[misc]

        asyncio.run(run())

    return use


def test_a_user_of_training_has_the_trained_row_until_something_happens(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        before = await world.users.find("user-3")
        assert (before.source, before.vector.tolist()) == ("user", bundle.user_embeddings[3].tolist())
        await world.did("user-3", "item-7")
        after = await world.users.find("user-3")
        assert (after.source, after.past[-1]) == ("fold_in", 7)
        assert not np.allclose(before.vector, after.vector)


def test_the_second_reading_is_the_same_object_without_a_look_into_log_or_bundle(
    bundle: Bundle, tmp_path: Path
) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        found = await world.users.find("user-3")
        assert world.users.peek("user-3") is found
        assert await world.users.find("user-3") is found
        assert world.counted("reco_vectors_total", source="bundle") == 1
        assert world.counted("reco_vectors_total", source="memory") == 2


def test_an_event_of_one_user_leaves_the_profiles_of_others_where_they_are(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        other = await world.users.find("user-4")
        await world.did("user-3", "item-7")
        assert world.users.peek("user-3") is None
        assert world.users.peek("user-4") is other


def test_an_impression_changes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        before = await world.users.find("user-3")
        await world.did("user-3", "item-7", "impression")
        assert world.users.peek("user-3") is before


def test_nobody_is_known_until_an_event_and_then_folded_in(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        assert await world.users.find("new") is world.users.unknown_profile
        assert not world.users.unknown_profile.known
        await world.did("new", "gone")  # an item that this bundle lacks says nothing
        assert await world.users.find("new") is world.users.unknown_profile
        await world.did("new", "item-7")
        np.testing.assert_allclose((await world.users.find("new")).vector, bundle.fold_in[7], rtol=1e-6)


def test_an_unknown_user_may_be_an_error_if_the_operator_says_so(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path, unknown_user="404")
    async def _(world: World) -> None:
        for _ in range(2):
            with pytest.raises(UnknownUserError, match="nothing is known of 'new'"):
                await world.users.find("new")
        await world.did("new", "item-7", "dislike")  # of this user something is known
        assert (await world.users.find("new")).excluded.tolist() == [7]


def test_users_beyond_the_bound_are_forgotten_the_one_asked_for_least_lately_first(
    bundle: Bundle, tmp_path: Path
) -> None:
    room_for_two = 2.5 * (ENTRY_BYTES + trained_profile(bundle, 1).n_bytes) / MEGABYTE

    @lively(bundle, tmp_path, profile_cache_mb=room_for_two)
    async def _(world: World) -> None:
        for user_id in ("user-1", "user-2", "user-1", "user-3"):
            await world.users.find(user_id)
        assert [world.users.peek(f"user-{i}") is not None for i in (1, 2, 3)] == [True, False, True]


def test_events_make_profiles_larger_and_fewer_and_take_no_more_memory(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path, profile_cache_mb=0.015)
    async def _(world: World) -> None:
        async def kept() -> int:
            for user in range(30):
                await world.users.find(f"user-{user}")
            assert 0.014 < world.counted("reco_kept_bytes", of="profiles") / MEGABYTE <= 0.015
            return sum(world.users.peek(f"user-{user}") is not None for user in range(30))

        before = await kept()
        for item in range(20):
            await asyncio.gather(*(world.did(f"user-{user}", f"item-{item}") for user in range(30)))
        assert 5 < await kept() < before < 30


def test_strangers_take_little_memory_since_all_of_them_are_one_nobody(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        for i in range(10):
            await world.users.find(f"stranger-{i}")
        assert world.users.n_bytes == 10 * ENTRY_BYTES


def test_strangers_with_long_ids_take_the_memory_of_their_ids(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        for i in range(10):
            await world.users.find(f"{i}" * 500)
        assert world.users.n_bytes > 10 * (ENTRY_BYTES + 400)


held = st.tuples(st.sampled_from("abcdef"), st.sampled_from(("put", "overtaken", "drop", "get")), st.integers(0, 29))


@given(acts=st.lists(held, max_size=60))
def test_what_profiles_take_is_counted_right_whatever_happens_and_never_more_than_it_may(
    bundle: Bundle, acts: list[tuple[str, str, int]]
) -> None:
    nobody, most = trained_profile(bundle, 0), 4_000
    kept = ProfileCache(most, EventFreshness(lambda: 0.0, 1.0), nobody)
    for user_id, act, row in acts:
        if act == "drop":
            kept.invalidate(user_id)
        elif act == "get":
            kept.get(user_id)
        else:
            kept.put(
                user_id, nobody if row == 0 else trained_profile(bundle, row), OUTDATED if act == "overtaken" else 0.0
            )
        there = [found for user in "abcdef" if (found := kept.last_known(user)) is not None]
        sizes = [ENTRY_BYTES + (0 if one is nobody else one.n_bytes) for one in there]
        assert (len(kept), kept.n_bytes) == (len(there), sum(sizes))
        assert kept.n_bytes <= most
    kept.clear()
    assert (len(kept), kept.n_bytes) == (0, 0)


def test_many_who_ask_for_one_user_at_once_wait_for_one_reading(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        found = await asyncio.gather(*(world.users.find("user-3") for _ in range(100)))
        assert len({id(profile) for profile in found}) == 1
        assert world.counted("reco_vectors_total", source="bundle") == 1
        assert world.counted("reco_vectors_total", source="memory") == 99


def counted_profiles(world: World) -> dict[str, float]:
    found = {name: world.counted("reco_vectors_total", source=name) for name in get_args(Source)}
    return {name: n for name, n in found.items() if n}


@pytest.mark.parametrize("in_redis", [False, True], ids=["log in sqlite", "log in redis"])
def test_a_user_is_counted_once_by_where_the_profile_came_from(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_redis: bool
) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        world.users._events_in_redis = in_redis  # events and vector are then read together
        await world.did("user-3", "item-7")
        for user_id in ("user-3", "user-4", "nobody"):
            await world.users.find(user_id)
        assert counted_profiles(world) == {"fold_in": 1, "bundle": 1, "none": 1}

        async def broken(_: str) -> list[Event]:
            raise LogUnavailable("away")

        world.users.invalidate(["user-3"])
        with monkeypatch.context() as patched:
            patched.setattr(world.feedback.log, "user_events", broken)
            await world.users.find("user-3")
            await world.users.find("user-5")
        assert counted_profiles(world) == {"fold_in": 1, "bundle": 2, "none": 1, "memory": 1}


def test_a_replayed_request_is_not_counted_again(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        for _ in range(2):
            for user_id in ("user-3", "nobody"):
                await world.users.find_for_replay(user_id)
        assert counted_profiles(world) == {}
        await world.users.find("user-3")
        assert counted_profiles(world) == {"memory": 1}


def test_a_caller_that_leaves_does_not_end_the_reading_for_the_others(bundle: Bundle, tmp_path: Path) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        leaves, stays = (asyncio.create_task(world.users.find("user-3")) for _ in range(2))
        await asyncio.sleep(0)
        leaves.cancel()
        assert (await stays).source == "user"


def test_strengths_by_kind_and_recency_enter_the_vector_by_the_formula(tmp_path: Path) -> None:
    bundle = publish(tmp_path, make_content(recency=Recency(tau=2)))

    @lively(bundle, tmp_path, event_weight_view=0.5, event_weight_purchase=3)
    async def _(world: World) -> None:
        repeated = int(bundle.seen(3)[0])
        for item, kind in ((30, "click"), (31, "purchase"), (repeated, "view"), (30, "view")):
            await world.did("user-3", f"item-{item}", kind, timestamp=1e9 - item)  # the order is that of acceptance
        found = await world.users.find("user-3")
        trained = [row for row in bundle.seen(3).tolist() if row not in (30, 31, repeated)]
        past = [*trained, 31, repeated, 30]
        ranks = np.arange(len(past))[::-1]
        weights = np.exp(-ranks / 2) * [*[1.0] * len(trained), 3.0, 0.5, 0.5]
        vector = bundle.user_own[3] + sum(weights) ** -0.5 * (np.array(weights) @ bundle.fold_in[past])
        assert found.past.tolist() == past
        np.testing.assert_allclose(found.weights, weights, rtol=1e-6)
        np.testing.assert_allclose(found.vector, vector, rtol=1e-4)


def test_while_the_log_cannot_be_read_users_are_answered_from_what_is_known_and_that_is_not_kept(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @lively(bundle, tmp_path, lru_stale_s=0.001, live_poll_s=60)
    async def _(world: World) -> None:
        await world.did("user-3", "item-7")
        known = await world.users.find("user-3")

        async def broken(_: str) -> list[Event]:
            raise LogUnavailable("away")

        world.live.freshness.follows_events = False
        await asyncio.sleep(0.01)
        with monkeypatch.context() as patched:
            patched.setattr(world.feedback.log, "user_events", broken)
            assert await world.users.find("user-3") is known  # older than allowed, and yet the best there is
            assert (await world.users.find("user-4")).source == "user"
        world.live.freshness.follows_events = True
        assert world.users.peek("user-4") is None
        assert world.counted("reco_events_unread_total") == 2


def test_what_was_read_of_a_user_before_an_event_is_not_kept_after_it(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @lively(bundle, tmp_path)
    async def _(world: World) -> None:
        read, go_on = asyncio.Event(), asyncio.Event()
        of_user = world.feedback.log.user_events

        async def slow(user_id: str) -> list[Event]:
            found = await of_user(user_id)
            read.set()
            await go_on.wait()
            return found

        monkeypatch.setattr(world.feedback.log, "user_events", slow)
        before = asyncio.create_task(world.users.find("user-3"))
        await read.wait()
        await world.did("user-3", "item-7")
        go_on.set()
        assert (await before).source == "user"  # it asked before the event was accepted
        assert world.users.peek("user-3") is None
        assert (await world.users.find("user-3")).source == "fold_in"
