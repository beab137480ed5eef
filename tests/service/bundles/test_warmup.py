"""Recent requests replayed against a new bundle, and when to retry what failed."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundles.backoff import FIRST_S, MAX_S, Backoff
from service.bundles.warmup import MIN_TIMED_REQUESTS, RecentRequests, RecordedRequest, WarmUpResult, warm_up
from service.errors import UnknownItemError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class LoadedStandIn:
    class bundle:  # noqa: N801 - what warm_up reads of a LoadedBundle
        bundle_id = "x"


async def nothing(*_: object) -> None:
    return None


def asked(user_id: str, *, personal: bool = True, replay=nothing) -> RecordedRequest:
    return RecordedRequest(replay, user_id, None, personal)


def warmed(sample: list[RecordedRequest], timer) -> WarmUpResult:
    return asyncio.run(warm_up(LoadedStandIn, sample, timer))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), st.booleans())), st.integers(0, 5))
def test_the_sample_is_the_last_requests_and_its_users_are_each_named_once(requests, most):
    recent = RecentRequests(most)
    for user_id, personal in requests:
        recent.record(asked(user_id, personal=personal))
    kept = requests[-most:] if most else []
    assert [(one.id, one.personal) for one in recent.sample()] == kept
    users = recent.user_ids()
    assert len(users) == len(set(users))
    assert set(users) == {user_id for user_id, personal in kept if personal}
    if kept and kept[-1][1]:
        assert users[0] == kept[-1][0]


def test_a_bundle_is_timed_over_requests_that_already_found_its_caches_filled():
    clock, asked_times = Clock(), []

    async def slow_at_first(*_: object) -> None:
        clock.now += 1.0 if len(asked_times) < MIN_TIMED_REQUESTS else 0.002
        asked_times.append(clock.now)

    found = warmed([asked("u", replay=slow_at_first)] * MIN_TIMED_REQUESTS, clock)
    assert found.p99_ms == pytest.approx(2.0)
    assert found.refusal_reason(2.5) == ""
    assert found.refusal_reason(1.5) == f"recent requests take 2 ms (p99 of {MIN_TIMED_REQUESTS}), limit 1.5 ms"


def test_a_few_slow_requests_say_nothing_and_an_unknown_item_is_no_failure():
    clock = Clock()

    async def slow(*_: object) -> None:
        clock.now += 10.0
        raise UnknownItemError("gone")

    assert warmed([asked("i", replay=slow)] * 3, clock).refusal_reason(1.0) == ""
    assert warmed([], clock).refusal_reason(1.0) == ""


def test_each_kind_of_failure_is_told_once():
    async def broken(_loaded: object, found: str, _query: object) -> None:
        raise KeyError(found)

    told = warmed([asked("a", replay=broken), asked("b", replay=broken), asked("c")], Clock()).refusal_reason(1.0)
    assert told == "of 3 recent requests some fail: KeyError: 'a'; KeyError: 'b'"


def test_what_fails_is_tried_again_ever_more_seldom_until_something_changes():
    clock = Clock()
    retries = Backoff(clock)
    waits = []
    for _ in range(9):
        assert retries.due("bad")
        retries.failed("bad")
        assert retries.due("other")
        begun = clock.now
        while not retries.due("bad"):
            clock.now += 1.0
        waits.append(clock.now - begun)
    assert waits[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert waits[-1] == MAX_S
    retries.failed("bad")
    retries.clear()
    assert retries.due("bad")
