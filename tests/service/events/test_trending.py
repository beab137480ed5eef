import itertools
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_events import NOON, made

from service.events.event import Event
from service.events.kinds import BUILT_IN, EventKind, EventKinds
from service.events.trending import HOUR_S, Trending

DAY_S = 86_400.0
number = itertools.count()


def trending(most_hours: int = 720, most_counts: int = 100_000, **weights: float) -> Trending:
    kinds = {name: EventKind(weight=weight) for name, weight in weights.items()}
    return Trending(
        EventKinds({**BUILT_IN.by_name, **kinds}, BUILT_IN.always), most_hours=most_hours, most_counts=most_counts
    )


def event(item_id: str, hours_ago: float = 0, kind: str = "click") -> Event:
    return made(f"event-{next(number)}", item_id=item_id, kind=kind, timestamp=NOON - hours_ago * HOUR_S)


def names(found: Trending, now: float = NOON, half_life_s: float = DAY_S) -> list[str]:
    return [item_id for item_id, _ in found.ranked(half_life_s, now)]


def test_an_event_counts_half_after_every_half_life() -> None:
    found = trending()
    found.add([event("old", 24), event("old", 24), event("old", 24), event("new"), event("older", 48)], NOON)
    assert dict(found.ranked(DAY_S, NOON)) == pytest.approx({"old": 1.5, "new": 1.0, "older": 0.25})
    assert dict(found.ranked(DAY_S, NOON + DAY_S)) == pytest.approx({"old": 0.75, "new": 0.5, "older": 0.125})


def test_the_half_life_decides_between_what_is_steady_and_what_is_new() -> None:
    found = trending()
    found.add([event("steady", hours) for hours in range(1, 100)] + [event("new")] * 5, NOON)
    assert names(found, half_life_s=HOUR_S)[0] == "new"
    assert names(found, half_life_s=100 * HOUR_S)[0] == "steady"


def test_only_positive_events_count_and_each_by_the_weight_of_its_kind() -> None:
    found = trending(view=0.0, purchase=3.0)
    acts = [("bought", "purchase"), ("viewed", "view"), ("hated", "dislike"), ("shown", "impression"), ("odd", "x")]
    found.add([event(item_id, kind=kind) for item_id, kind in acts], NOON)
    assert list(found.ranked(DAY_S, NOON)) == [("bought", pytest.approx(3.0))]


def test_ties_are_broken_by_id_whatever_the_order_of_events() -> None:
    for order in itertools.permutations("abc"):
        found = trending()
        found.add([event(item_id) for item_id in order], NOON)
        assert names(found) == ["a", "b", "c"]


def test_of_a_long_tie_the_first_come_in_order_of_their_ids() -> None:
    found = trending()
    ids = [f"item-{i:03}" for i in range(500)]
    found.add([event(item_id) for item_id in reversed(ids)] + [event("top"), event("top")], NOON)
    assert [item_id for item_id, _ in islice(found.ranked(DAY_S, NOON), 20)] == ["top", *ids[:19]]


events = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 200)), min_size=1, max_size=40)


@given(events=events, later=st.floats(0, 10 * 365 * DAY_S), half_life=st.floats(HOUR_S, 30 * DAY_S))
def test_the_order_is_that_of_plain_decayed_counts_and_stays_however_far_the_clock_runs_ahead(
    events: list[tuple[str, int]], later: float, half_life: float
) -> None:
    found = trending()
    found.add([event(item_id, hours) for item_id, hours in events], NOON)
    sums: dict[str, float] = {}
    for item_id, hours in events:
        sums[item_id] = sums.get(item_id, 0.0) + 0.5 ** (hours * HOUR_S / half_life)
    assert dict(found.ranked(half_life, NOON)) == pytest.approx(sums)
    assert names(found, NOON + later, half_life) == names(found, NOON, half_life)


def test_a_clock_that_was_ahead_and_is_set_right_leaves_nothing_at_the_top_for_ever() -> None:
    found = trending()
    found.add([made("far", item_id="ahead", timestamp=NOON + 365 * DAY_S)], NOON + 365 * DAY_S)
    found.add([event("now"), event("now")], NOON)
    assert dict(found.ranked(DAY_S, NOON)) == pytest.approx({"now": 2.0, "ahead": 1.0})
    assert names(found)[0] == "now"


def test_an_event_that_claims_to_be_from_the_future_counts_as_of_now() -> None:
    found = trending()
    found.add([made("liar", item_id="a", timestamp=NOON + 20 * HOUR_S), event("b"), event("b")], NOON)
    assert names(found, NOON + 30 * HOUR_S) == ["b", "a"]


def test_memory_is_bounded_by_hours_and_counts_and_the_oldest_go_first() -> None:
    by_hours = trending(most_hours=3)
    by_hours.add([event(f"item-{hours}", hours) for hours in (5, 4, 3, 2, 1)], NOON)
    assert names(by_hours) == ["item-1", "item-2", "item-3"]
    by_counts = trending(most_counts=4)
    by_counts.add([event(f"item-{i}", 2) for i in range(3)] + [event(f"item-{i}", 1) for i in range(4)], NOON)
    assert (len(by_counts), names(by_counts)) == (4, [f"item-{i}" for i in range(4)])
    in_one_hour = trending(most_counts=4)
    in_one_hour.add([event(f"item-{i}") for i in range(10)] + [event("item-3")], NOON)
    assert (len(in_one_hour), names(in_one_hour)) == (4, ["item-3", "item-0", "item-1", "item-2"])


def test_an_event_too_late_for_an_hour_of_its_own_counts_in_the_oldest() -> None:
    found = trending(most_hours=2)
    found.add([event("a", 2), event("b", 1), event("late", 50)], NOON)
    assert set(names(found)) == {"a", "b", "late"}


def test_where_nothing_happened_nothing_is_on_the_rise() -> None:
    assert list(islice(trending().ranked(DAY_S, NOON), 1)) == []
