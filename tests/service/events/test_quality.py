import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InputError
from service.events.known_bundles import LIST_EVERY_S, KnownBundles
from service.events.log import EventCount
from service.events.quality import UNKNOWN_BUNDLE, quality, wilson
from service.events.window import BUCKET_S, DAY_S, bucket_of, divided
from service.telemetry.metrics import Metrics


def test_rates_are_of_what_was_shown_and_null_where_nothing_was() -> None:
    found = quality(
        [
            EventCount("b1", "answers", 4),
            EventCount("b1", "shown", 40),
            EventCount("b1", "clicked", 6),
            EventCount("b1", "hits", 3),
            EventCount("b1", "impression", 4),
            EventCount("", "purchase", 2),
            EventCount("", "other", 1),
        ]
    )
    b1, nameless = found["bundles"]
    assert (b1["bundle"], b1["click_through_rate"], b1["hit_rate"]) == ("b1", 0.15, 0.75)
    assert (nameless["bundle"], nameless["click_through_rate"], nameless["hit_rate"]) == (None, None, None)
    assert nameless["events"] == {"purchase": 2, "other": 1}
    assert found["overall"]["events"] == {"impression": 4, "purchase": 2, "other": 1}


def test_no_events_are_no_bundles() -> None:
    assert quality([])["bundles"] == []


@pytest.mark.parametrize(("timestamp", "start"), [(0, 0), (BUCKET_S - 0.1, 0), (BUCKET_S, BUCKET_S)])
def test_a_bucket_begins_at_a_multiple_of_its_length(timestamp: float, start: int) -> None:
    assert bucket_of(timestamp) == start


@given(since=st.integers(0, 4 * DAY_S), length=st.integers(0, 4 * DAY_S))
def test_a_window_is_its_whole_days_and_the_buckets_around_them(since: int, length: int) -> None:
    before, days, after = divided(since, since + length)
    whole = (days.first * DAY_S, days.end * DAY_S)
    parts = [range(*ends, BUCKET_S) for ends in (before, whole, after)]
    buckets = range(bucket_of(since), bucket_of(since + length), BUCKET_S)
    assert [bucket for part in parts for bucket in part] == list(buckets)
    assert all(len(part) < DAY_S // BUCKET_S for part in (parts[0], parts[2]))


def test_bundles_that_the_registry_lacks_are_told_as_other() -> None:
    found = quality([EventCount(UNKNOWN_BUNDLE, "click", 3), EventCount("b1", "click", 1)])
    assert [(one["bundle"], one["events"]) for one in found["bundles"]] == [
        ("b1", {"click": 1}),
        ("other", {"click": 3}),
    ]


@given(trials=st.integers(1, 10**9), share=st.floats(0, 1))
def test_an_interval_holds_its_rate_within_0_and_1(trials: int, share: float) -> None:
    successes = round(share * trials)
    low, high = wilson(successes, trials) or (0.0, 0.0)
    assert 0 <= low <= successes / trials <= high <= 1
    assert low < high


def test_an_interval_is_wilsons_by_hand() -> None:
    assert wilson(0, 0) is wilson(1, -1) is None
    assert wilson(7, 3) == wilson(3, 3)
    assert wilson(3, 24) == pytest.approx((0.0434, 0.3100), abs=1e-4)  # Newcombe 1998, method 3


def known(names: list[str], steps: Callable[[KnownBundles, list[float]], Awaitable[None]]) -> int:
    """Take the steps with a registry of these names and a clock; return how often it was listed."""
    clock, listed = [0.0], 0

    def list_ids() -> list[str]:
        nonlocal listed
        listed += 1
        return list(names)

    asyncio.run(steps(KnownBundles(list_ids, Metrics(), lambda: clock[0]), clock))
    return listed


def test_the_registry_is_listed_when_a_name_is_unknown_at_most_once_a_second() -> None:
    names = ["b1"]

    async def steps(bundles: KnownBundles, clock: list[float]) -> None:
        for _ in range(50):
            await bundles.learn(["b1", None])
        names.append("b2")  # published a moment ago
        for i in range(50):
            await bundles.learn([f"made-up-{i}"])
        assert [bundles.label(name) for name in ("b1", "b2", None)] == ["b1", UNKNOWN_BUNDLE, ""]
        clock[0] += LIST_EVERY_S
        await bundles.learn(["b2"])
        assert bundles.label("b2") == "b2"

    assert known(names, steps) == 2


def test_events_that_come_while_the_registry_is_listed_wait_for_it() -> None:
    gate = threading.Event()

    def list_ids() -> list[str]:
        gate.wait()
        return ["b1"]

    async def steps() -> None:
        bundles = KnownBundles(list_ids, Metrics(), lambda: 0.0)
        waiting = [asyncio.ensure_future(bundles.learn(["b1"])) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(one.done() for one in waiting)
        gate.set()
        await asyncio.gather(*waiting)
        assert bundles.label("b1") == "b1"

    asyncio.run(steps())


@pytest.mark.parametrize("error", [OSError, InputError])
def test_while_the_registry_is_away_the_bundle_that_serves_is_known(error: type[Exception]) -> None:
    def fail() -> list[str]:
        raise error("away")

    async def steps() -> None:
        bundles = KnownBundles(fail, Metrics(), lambda: 0.0)
        bundles.add("serves")
        await bundles.learn(["serves", "b1"])
        assert (bundles.label("serves"), bundles.label("b1")) == ("serves", UNKNOWN_BUNDLE)

    asyncio.run(steps())
