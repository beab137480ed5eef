import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_events import NOON, made

from service.events.event import EXPLORED_ID, IMPRESSION, Event
from service.events.exposure import Exposure
from service.events.kinds import BUILT_IN

DAY_S = 86_400.0
number = itertools.count()


def exposure(*, most_items: int = 1_000, most_places: int = 1_000, refresh_s: float = 0.0) -> Exposure:
    return Exposure(
        BUILT_IN,
        half_life_s=DAY_S,
        refresh_s=refresh_s,
        most_items=most_items,
        most_places=most_places,
        label=lambda name: name or "",
    )


def shown(request: str | None, *items: str, explored: bool = False, ago: float = 0, bundle: str = "b1") -> Event:
    prefix = EXPLORED_ID if explored else "shown:"
    fields = {"kind": IMPRESSION, "item_id": "", "items": list(items), "value": max(1, len(items))}
    return made(f"{prefix}{next(number)}", request_id=request, bundle=bundle, timestamp=NOON - ago, **fields)


def clicked(request: str | None, item: str) -> Event:
    return made(f"click-{next(number)}", kind="click", item_id=item, request_id=request)


def counts(found: Exposure, *items: str, now: float = NOON) -> list[tuple[float, float]]:
    found.refresh(now)
    impressions, clicks = found.counts(items)
    return list(zip(impressions.tolist(), clicks.tolist(), strict=True))


def test_an_item_counts_once_an_answer_and_a_click_only_where_the_answer_showed_it() -> None:
    found = exposure()
    events = [shown("r1", "a", "b"), shown("r1", "a"), clicked("r1", "a"), clicked("r1", "a"), clicked("r1", "c")]
    found.add([*events, shown("r2", "a"), clicked("r3", "b"), clicked(None, "b")], NOON)
    assert counts(found, "a", "b", "c") == [(2, 1), (1, 0), (0, 0)]


def test_impressions_without_an_answer_count_each() -> None:
    found = exposure()
    found.add([shown(None, "a"), shown(None, "a")], NOON)
    assert counts(found, "a") == [(2, 0)]


def test_counts_halve_with_every_half_life_and_a_click_weighs_what_its_impression_does() -> None:
    found = exposure()
    found.add([shown("old", "a", ago=DAY_S), clicked("old", "a"), shown("new", "b")], NOON)
    assert counts(found, "a", "b") == [pytest.approx((0.5, 0.5)), pytest.approx((1, 0))]


def test_new_events_count_from_the_next_refresh_on() -> None:
    found = exposure(refresh_s=60)
    found.add([shown("r1", "a")], NOON)
    assert (counts(found, "a"), found.version) == ([(1, 0)], 1)
    found.add([shown("r2", "a")], NOON + 1)
    assert (counts(found, "a", now=NOON + 59), found.version) == ([(1, 0)], 1)
    assert counts(found, "a", now=NOON + 61)[0][0] == pytest.approx(2, rel=1e-3)
    assert found.version == 2
    found.refresh(NOON + 600)
    assert found.version == 2  # nothing new


def test_the_rate_of_all_items_begins_at_a_prior_and_follows_the_clicks() -> None:
    found = exposure()
    assert (found.rate, found.has_any) == (0.05, False)
    found.add([event for i in range(180) for event in (shown(f"r{i}", "a"), clicked(f"r{i}", "a"))], NOON)
    found.refresh(NOON)
    assert (found.rate, found.has_any) == (0.5, True)  # never more than a half
    found.add([shown(None, "a") for _ in range(810)], NOON)
    found.refresh(NOON)
    assert found.rate == pytest.approx(181 / 1_010)


def test_memory_is_bounded_and_the_least_shown_items_and_the_oldest_answers_go_first() -> None:
    found = exposure(most_items=10, most_places=50)
    for i in range(30):
        found.add([shown(f"r{i}", *(f"item-{place}" for place in range(i % 20 + 1)))], NOON)
        found.refresh(NOON)
    assert counts(found, "item-0")[0][0] == 30
    assert counts(found, "item-19")[0][0] == 0
    found.add([clicked("r0", "item-0"), clicked("r29", "item-0")], NOON)
    assert counts(found, "item-0") == [(30, 1)]


def test_explored_places_are_told_beside_the_others_of_their_answers() -> None:
    found = exposure()
    found.add(
        [shown("r1", "a", "b", "c"), shown("r1", "c", explored=True), clicked("r1", "c"), clicked("r1", "a")], NOON
    )
    found.add([shown("r2", "a", "b", "d"), shown("r2", "d", explored=True, bundle="b1")], NOON)
    found.add([shown("r3", "a"), clicked("r3", "a")], NOON)  # nothing explored
    quality = {"overall": {"answers": 3}, "bundles": [{"bundle": "b1"}, {"bundle": "b2"}]}
    told = found.explored_places.added_to(quality, since=NOON - 1)
    of_b1 = told["bundles"][0]["exploration"]
    assert (of_b1["explored"]["items_shown"], of_b1["explored"]["clicks"]) == (2, 1)
    assert (of_b1["others"]["items_shown"], of_b1["others"]["clicks"]) == (4, 1)
    assert of_b1["explored"]["click_through_rate"] == 0.5
    assert told["overall"]["exploration"] == of_b1
    assert told["bundles"][1] == {"bundle": "b2"}
    assert found.explored_places.added_to(quality, since=NOON + 1) == quality


events_of_two_answers = st.lists(
    st.sampled_from(["shown", "explored", "click"]).flatmap(
        lambda kind: st.tuples(st.just(kind), st.sampled_from(["r1", "r2"]), st.sampled_from("abc"))
    ),
    max_size=12,
)


def as_events(drawn: Sequence[tuple[str, str, str]]) -> list[Event]:
    return [
        clicked(request, item) if kind == "click" else shown(request, item, explored=kind == "explored")
        for kind, request, item in drawn
    ]


@given(drawn=events_of_two_answers, data=st.data())
def test_counts_depend_on_the_set_of_events_and_not_on_their_order(
    drawn: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    found = []
    for order in (drawn, data.draw(st.permutations(drawn))):
        one = exposure()
        for event in as_events(order):
            one.add([event], NOON)
        places = one.explored_places.added_to({"overall": {}, "bundles": []}, 0.0)
        found.append((counts(one, "a", "b", "c"), places))
    assert found[0] == found[1]
    assert all(impressions >= clicks for impressions, clicks in found[0][0])
