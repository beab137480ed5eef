"""What every log of events promises, SQLite and Redis alike."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_events import NOON, made, several
from servers import Valkey

from service.events.event import KINDS, Event
from service.events.log import EventCount, EventLog, Overloaded
from service.events.open_log import open_log
from service.events.quality import quality
from service.settings import Settings
from service.telemetry.metrics import Metrics

Steps = Callable[[EventLog], Awaitable[None]]
Use = Callable[..., None]


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    config = {"appendonly": "yes", "appendfsync": "always"}
    server = Valkey(tmp_path_factory.mktemp("valkey"), config=config).start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Use:
    """Open a log of one kind, take the steps, close it; the next use finds what the last one left."""

    where: dict[str, Any] = {}
    if request.param == "redis":
        server: Valkey = request.getfixturevalue("durable")
        with server.client() as client:
            client.flushall()
        where = {"event_log": "redis", "redis_url": server.url, "redis_budget_ms": 2_000}

    def run(steps: Steps, *, clock: Callable[[], float] = lambda: NOON, **changes: Any) -> None:
        async def opened() -> None:
            async with open_log(Settings(registry=tmp_path, **where, **changes), Metrics(), clock) as log:
                await steps(log)

        asyncio.run(opened())

    return run


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


def test_clicks_are_joined_to_impressions_by_request_in_whatever_order_they_come(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made("c1", request_id="r1"), made("c2", request_id="r1")])
        assert rates(await log.counts_since(0)) == (0, 0, 0, None, None)
        await log.append([made("i1", kind="impression", value=10, request_id="r1", bundle="b1")])
        assert rates(await log.counts_since(0)) == (1, 10, 2, 0.2, 1.0)
        shown = [made(f"i{i}", kind="impression", request_id="r2", item_id=f"item-{i}") for i in range(2, 12)]
        await log.append([*shown, made("c3", request_id="r2"), made("like", kind="like", request_id="r2")])
        await log.append([made("c4"), made("c5", request_id="of no answer"[:2])])
        assert rates(await log.counts_since(0)) == (2, 20, 3, 0.15, 1.0)
        await log.append([made("i12", kind="impression", value=5, request_id="r3"), made("c3", request_id="r3")])
        assert rates(await log.counts_since(0)) == (3, 25, 3, 0.12, 2 / 3)

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

    use(steps)


def recount(events: list[Event]) -> tuple[Any, ...]:
    """Join by hand, from all events at once."""
    shown: dict[str, int] = {}
    for event in events:
        if event.kind == "impression" and event.request_id:
            shown[event.request_id] = shown.get(event.request_id, 0) + int(event.value)
    clicks = [event.request_id for event in events if event.kind == "click" and event.request_id in shown]
    n, items = len(shown), sum(shown.values())
    return n, items, len(clicks), len(clicks) / items if items else None, len(set(clicks)) / n if n else None


events = st.builds(
    made,
    event_id=st.integers(0, 60).map(str),
    kind=st.sampled_from(["impression", "click", "click", "like"]),
    value=st.integers(1, 20),
    request_id=st.none() | st.sampled_from(["r1", "r2", "r3"]),
    bundle=st.none() | st.sampled_from(["b1", "b2"]),
    timestamp=st.sampled_from([0.0, NOON, NOON + 299.9, NOON + 300]),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(events, max_size=8), max_size=6))
def test_the_running_sums_are_those_of_a_count_from_the_start(use: Use, batches: list[list[Event]]) -> None:
    async def steps(log: EventLog) -> None:
        before = await everything(log)
        for i, batch in enumerate(batches):
            # Examples share one log: what is new to each is what this example calls its own.
            mine = f"{len(before)}-{i}-"
            await log.append([event.model_copy(update={"event_id": mine + event.event_id}) for event in batch])
        held = await everything(log)
        assert rates(await log.counts_since(0)) == recount(held)
        by_kind = {kind: sum(event.kind == kind for event in held) for kind in KINDS}
        assert quality(await log.counts_since(0))["overall"]["events"] == {k: n for k, n in by_kind.items() if n}

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
