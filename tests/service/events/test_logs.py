"""What every log of events promises, SQLite and Redis alike."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from drawn_events import events, figures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_events import NOON, made, several

from service.events.event import Event
from service.events.exposure import Exposure
from service.events.kinds import BUILT_IN
from service.events.log import EventCount, EventLog
from service.events.quality import quality
from service.events.window import DAY_S, FOREVER
from service.storage.unavailable import Overloaded

EXAMPLES = itertools.count(1)
MOST_EXAMPLES = int(os.environ.get("QUALITY_EXAMPLES", "25"))  # of the law of /quality; more by hand

Steps = Callable[[EventLog], Awaitable[None]]
Use = Callable[..., None]


async def everything(log: EventLog) -> list[Event]:
    return [event for _, event in await log.read(0, 100_000)]


def test_what_was_appended_is_read_back_in_order_and_is_there_after_the_end(use: Use) -> None:
    events = several(1_000)

    async def write(log: EventLog) -> None:
        assert (await log.append(events[:1])).new == tuple(events[:1])
        assert (await log.append(events[1:])).n_new == 999

    async def read(log: EventLog) -> None:
        assert await everything(log) == events
        assert [position for position, _ in await log.read(990, 5)] == [991, 992, 993, 994, 995]
        assert await log.last_position() == 1_000

    use(write)
    use(read)


def test_an_event_sent_again_is_known_and_not_added(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append(several(10))
        again = await log.append([*several(12), made("event-3", item_id="another")])
        assert ([event.event_id for event in again.new], again.n_known) == (["event-10", "event-11"], 11)
        assert len(await everything(log)) == 12
        assert (await everything(log))[3].item_id == "item-1"

    use(steps)


def test_of_callers_who_send_the_same_event_at_once_one_brings_it(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        found = await asyncio.gather(*(log.append(several(7)) for _ in range(20)))
        assert sum(appended.n_new for appended in found) == 7
        assert sum(appended.n_known for appended in found) == 133
        assert await log.last_position() == 7

    use(steps)


def test_a_user_has_the_latest_positive_and_dislike_events_oldest_first(use: Use) -> None:
    kinds = ["view", "impression", "click", "dislike", "like", "rating", "purchase"]

    async def steps(log: EventLog) -> None:
        await log.append([made(f"of-bob-{i}", user_id="bob") for i in range(3)])
        await log.append([made(f"{i}", kind=kind) for i, kind in enumerate(kinds)])
        assert [event.kind for event in await log.user_events("ann")] == [
            "view",
            "click",
            "dislike",
            "like",
            "purchase",
        ]
        assert await log.user_events("nobody") == []
        await log.append(several(4, kind="like"))
        assert [event.event_id for event in await log.user_events("ann")] == ["6", *(f"event-{i}" for i in range(4))]

    use(steps, events_per_user=5)


def test_events_since_a_position_are_counted(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        assert (await log.last_position(), await log.count_since(0), await log.read(0, 10)) == (0, 0, [])
        await log.append(several(20))
        await log.append(several(20))  # known ones take no position
        await log.append(several(5, start=20))
        assert [await log.count_since(position) for position in (0, 20, 25, 99)] == [25, 5, 0, 0]

    use(steps)


def test_more_than_may_wait_is_refused_at_once_and_nothing_of_it_is_kept(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        waiting = [asyncio.ensure_future(log.append(several(10, start=10 * i))) for i in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="100 events wait to be written, the limit is 100") as refused:
            await log.append([made("one too many")])
        assert refused.value.headers == {"Retry-After": "1"}
        await asyncio.gather(*waiting)
        assert len(await everything(log)) == 100
        assert (await log.append([made("one too many")])).n_new == 1

    use(steps, events_waiting=100)


def test_of_exported_events_the_log_keeps_so_many_and_positions_go_on(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append(several(1_000))
        await log.mark_exported(700)
        await log.append(several(1, start=1_000))
        await log.append(several(1, start=1_001))
        (first, _), *_ = await log.read(0, 1)
        assert 500 <= first <= 701  # a stream gives its oldest events away a hundred at a time
        assert await log.last_position() == 1_002
        assert await log.count_since(0) == 1_002 - first + 1
        assert await log.count_since(800) == 202

    ticking = iter(range(10**9, 10**12, 100))
    use(steps, clock=lambda: float(next(ticking)), events_kept=100)


def test_what_was_never_exported_is_never_removed(use: Use) -> None:
    ticking = iter(range(10**9, 10**12, 10**6))

    async def steps(log: EventLog) -> None:
        for i in range(5):
            await log.append(several(300, start=300 * i))
        assert len(await everything(log)) == 1_500

    use(steps, clock=lambda: float(next(ticking)), events_kept=1, event_retention_days=1)


def test_exported_events_are_removed_when_they_are_old_by_our_clock_whatever_their_timestamp(use: Use) -> None:
    now = NOON

    async def steps(log: EventLog) -> None:
        nonlocal now
        await log.append(several(300, timestamp=5.0))
        await log.append(several(300, start=300, timestamp=NOON + 10**6))
        await log.mark_exported(300)
        assert len(await everything(log)) == 600
        now += 2 * 86_400
        await log.append(several(1, start=600))
        await log.append(several(1, start=601))
        assert [position for position, _ in await log.read(0, 1)] == [301]

    use(steps, clock=lambda: now, event_retention_days=1)


def test_a_mark_of_what_was_exported_neither_moves_back_nor_beyond_the_end(use: Use) -> None:
    ticking = iter(range(10**9, 10**12, 100))

    async def steps(log: EventLog) -> None:
        await log.append(several(400))
        await log.mark_exported(10**9)
        await log.mark_exported(0)
        for i in range(3):
            await log.append(several(1, start=400 + i))
        assert (await log.read(0, 1))[0][0] > 300
        assert len(await log.read(400, 10)) == 3

    use(steps, clock=lambda: float(next(ticking)), events_kept=1)


def rates(counts: list[EventCount]) -> tuple[Any, ...]:
    found = quality(counts)["overall"]
    return tuple(found[name] for name in ("answers", "items_shown", "clicks", "click_through_rate", "hit_rate"))


def impression(event_id: str, items: int, **changes: Any) -> Event:
    """An impression of the items 0 to items - 1, as the service logs it."""
    shown = {"item_id": "", "value": items, "items": [f"item-{i}" for i in range(items)]}
    return made(event_id, kind="impression", request_id="r1", **shown | changes)


def test_clicks_are_joined_to_impressions_by_request_in_whatever_order_they_come(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made("c1", request_id="r1"), made("c2", request_id="r1", item_id="item-2")])
        assert rates(await log.counts_since(0)) == (0, 0, 0, None, None)
        await log.append([made("i1", kind="impression", value=10, request_id="r1", bundle="b1", item_id="")])
        assert rates(await log.counts_since(0)) == (1, 10, 2, 0.2, 1.0)
        shown = [made(f"i{i}", kind="impression", request_id="r2", item_id=f"item-{i}") for i in range(2, 12)]
        await log.append([*shown, made("c3", request_id="r2", item_id="item-2"), made("like", kind="like")])
        await log.append([made("c4"), made("c5", request_id="of no answer"[:2])])
        assert rates(await log.counts_since(0)) == (2, 20, 3, 0.15, 1.0)
        await log.append([made("i12", kind="impression", value=5, request_id="r3"), made("c3", request_id="r3")])
        assert rates(await log.counts_since(0)) == (3, 25, 3, 0.12, 2 / 3)

    use(steps)


def test_an_impression_that_service_and_client_log_counts_once(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([impression("of the service", 10, bundle="b1")])
        await log.append([made(f"{i}", kind="impression", request_id="r1", item_id=f"item-{i}") for i in range(10)])
        await log.append([made("whole", kind="impression", request_id="r1", item_id="", value=10)])
        assert rates(await log.counts_since(0))[:2] == (1, 10)

    use(steps)


def test_a_click_counts_once_for_an_item_that_was_shown_and_not_for_another(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made(f"c{i}", request_id="r1") for i in range(3)])
        await log.append([impression("i", 4), made("not shown", request_id="r1", item_id="item-9")])
        await log.append([made("again", request_id="r1"), made("of another", request_id="r2")])
        assert rates(await log.counts_since(0)) == (1, 4, 1, 0.25, 1.0)

    use(steps)


def test_items_of_any_script_are_joined(use: Use) -> None:
    ids = [
        "a/b",
        "用户七",
        'quote"back\\slash',
        "\\u0000",
        "nul\x00byte",
        "nul\x00",
        "line\nbreak",
        "=s",
        "👩🏽‍🚀",
        "'",
    ]

    async def steps(log: EventLog) -> None:
        shown = impression("i", len(ids)).model_copy(update={"items": ids})
        await log.append([shown])
        assert await everything(log) == [shown]
        await log.append([made(f"c{i}", request_id="r1", item_id=item_id) for i, item_id in enumerate(ids * 2)])
        assert rates(await log.counts_since(0)) == (1, 10, 10, 1.0, 1.0)

    use(steps)


def test_a_purchase_of_an_item_that_was_shown_is_a_conversion_once(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        bought = {"kind": "purchase", "request_id": "r1"}
        await log.append([made("p1", **bought), impression("i", 4), made("p2", **bought)])
        await log.append([made("p3", **bought | {"item_id": "item-9"}), made("no request", kind="purchase")])
        found = quality(await log.counts_since(0))["overall"]
        assert (found["conversions"], found["conversion_rate"], found["clicks"]) == (1, 0.25, 0)

    use(steps)


def test_quality_is_told_by_bundle_and_by_the_time_of_the_impression(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        for i, (bundle, minutes, clicks) in enumerate([("old", 0, 0), ("old", 20, 1), ("new", 20, 1), ("new", 40, 1)]):
            at = NOON + 60 * minutes
            fields = {"request_id": f"r{i}", "bundle": bundle, "timestamp": at}
            await log.append([made(f"i{i}", kind="impression", value=4, **fields)])
            late = fields | {"timestamp": at + 86_400}
            await log.append([made(f"c{i}{click}", **late) for click in range(clicks)])
        found = quality(await log.counts_since(NOON))
        assert [(one["bundle"], one["answers"], one["hit_rate"]) for one in found["bundles"]] == [
            ("new", 2, 1.0),
            ("old", 2, 0.5),
        ]
        assert found["overall"]["events"] == {"click": 3, "impression": 4}
        assert quality(await log.counts_since(NOON + 60 * 20))["overall"]["answers"] == 3
        assert rates(await log.counts_since(NOON + 60 * 30)) == (1, 4, 1, 0.25, 1.0)
        assert quality(await log.counts_since(NOON - 86_400)) == found

    use(steps)


def test_events_older_than_retention_are_not_counted_so_that_their_times_make_no_buckets(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made(f"{i}", timestamp=300.0 * i, request_id=f"r{i}") for i in range(1_000)])
        await log.append([made(f"i{i}", kind="impression", timestamp=300.0 * i, request_id=f"r{i}") for i in range(9)])
        assert await log.counts_since(0) == []

    use(steps, event_retention_days=1)


def test_a_forgotten_person_leaves_positions_and_sums_and_nothing_else(use: Use) -> None:
    shown = {"request_id": "r1", "bundle": "b1"}

    async def steps(log: EventLog) -> None:
        await log.append([made("i", kind="impression", value=3, **shown), made("of-bob", user_id="bob", **shown)])
        await log.append(several(600, **shown))
        before = await log.counts_since(0)
        forgotten = await log.forget("ann", 302)
        assert (forgotten.events, forgotten.answers) == (301, 1)
        assert await log.counts_since(0) == before
        assert [event.event_id for event in await log.user_events("ann")] == [f"event-{i}" for i in range(500, 600)]
        assert [position for position, _ in await log.events_of("ann")] == list(range(303, 603))
        assert (await log.forget("ann", 602)).events == 300
        assert (await log.forget("ann", 602)).events == 0
        assert (await log.user_events("ann"), await log.events_of("ann")) == ([], [])
        await log.wipe("ann")
        last = await log.last_position()
        assert last >= 602  # the newest was hers, and no position is ever given again
        await log.append([made("event-1")])  # its id is forgotten, too
        assert await log.last_position() == last + 1
        left = [event for _, event in await log.read(0, 1_000) if event is not None and event.kind != "forgotten"]
        assert [event.event_id for event in left] == ["of-bob", "event-1"]
        assert await log.count_since(last) == 1

    use(steps)


MIDNIGHT = NOON - NOON % DAY_S
starts = st.lists(
    st.sampled_from([NOON - 2 * DAY_S, NOON - DAY_S, MIDNIGHT, NOON, NOON + 300, NOON + 600, MIDNIGHT + DAY_S]),
    min_size=2,
    unique=True,
)


def recount(events: list[Event], since: float, until: float = FOREVER) -> dict[str, Any]:
    """/quality by its rules, from all events at once."""
    counts = [EventCount(e.bundle or "", e.kind, 1) for e in events if since <= e.timestamp < until]
    for request_id in {event.request_id for event in events if event.request_id}:
        of_it = [event for event in events if event.request_id == request_id]
        impressions = [event for event in of_it if event.kind == "impression"]
        if impressions and since <= min(event.timestamp for event in impressions) < until:
            bundle = max(event.bundle or "" for event in impressions)
            counts += [EventCount(bundle, name, n) for name, n in figures(impressions, of_it).items()]
    return quality(counts)


@settings(max_examples=MOST_EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(events, max_size=16, unique_by=lambda event: event.event_id), data=st.data())
def test_quality_depends_neither_on_the_order_of_events_nor_on_how_often_they_are_sent(
    use: Use, sent: list[Event], data: st.DataObject
) -> None:
    disordered = data.draw(st.permutations(sent + data.draw(st.lists(st.sampled_from(sent)) if sent else st.just([]))))
    cut = data.draw(st.integers(0, len(disordered)))

    async def steps(log: EventLog) -> None:
        # Examples share one log: each has events, requests and a place in time of its own.
        mine, later = f"{await log.last_position()}-", 10 * 86_400 * next(EXAMPLES)

        def own(event: Event) -> Event:
            request_id = event.request_id and mine + event.request_id
            given = {"event_id": mine + event.event_id, "request_id": request_id, "timestamp": event.timestamp + later}
            return event.model_copy(update=given)

        await log.append([own(event) for event in disordered[:cut]])
        await log.append([own(event) for event in disordered[cut:]])
        for since in (NOON - 86_400 + later, NOON + later, NOON + 300 + later):
            assert quality(await log.counts_since(since)) == recount([own(event) for event in sent], since)
        ends = [start + later for start in sorted(data.draw(starts))]
        for since, until in pairwise(ends):
            found = quality(await log.counts_since(since, until))
            assert found == recount([own(event) for event in sent], since, until)

        parts = [await log.counts_since(*window) for window in pairwise(ends)]
        whole = await log.counts_since(ends[0], ends[-1])
        assert quality(itertools.chain.from_iterable(parts)) == quality(whole)

    use(steps, event_retention_days=100_000)


strings = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(strings, min_size=1, max_size=10, unique=True), value=st.floats(allow_nan=False, allow_infinity=False)
)
def test_ids_of_any_script_and_numbers_come_back_as_they_went_in(use: Use, ids: list[str], value: float) -> None:
    async def steps(log: EventLog) -> None:
        before = await log.last_position()
        given = [made(f"{before}{i}", user_id=i, item_id=i[::-1], value=value, timestamp=0.1 + 0.2) for i in ids]
        appended = await log.append(given)
        assert list(appended.new) == given
        assert [event for _, event in await log.read(before, 100)] == given
        for event in given:
            assert (await log.user_events(event.user_id))[-1] == event

    use(steps)


def test_explored_items_are_known_from_what_is_read_back_and_count_once(use: Use) -> None:
    impression = {"kind": "impression", "item_id": "", "request_id": "r1", "bundle": "b1"}

    async def steps(log: EventLog) -> None:
        shown = made("shown:r1:1", **impression, items=["a", "b", "c"], value=3)
        explored = made("explored:r1:2", **impression, items=["c"], value=1)
        await log.append([shown, explored, made("click", item_id="c", request_id="r1")])
        exposure = Exposure(
            BUILT_IN, half_life_s=1e6, refresh_s=0, most_items=10, most_places=10, label=lambda name: name or ""
        )
        exposure.add(await everything(log), NOON)
        told = exposure.explored_places.added_to(quality(await log.counts_since(0)), 0)["overall"]
        assert (told["answers"], told["items_shown"], told["clicks"]) == (1, 3, 1)
        found = told["exploration"]
        assert (found["explored"]["items_shown"], found["others"]["items_shown"]) == (1, 2)
        assert (found["explored"]["clicks"], found["others"]["clicks"]) == (1, 0)

    use(steps)
