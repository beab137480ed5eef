"""What both logs count by arm of an experiment, and where the arm of an event comes from."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from drawn_events import events, figures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_events import NOON, made, several
from pydantic import ValidationError

from service.events.arm_totals import ArmTotals
from service.events.event import MOST_PAID, Event, GivenEvent
from service.events.intake import EventIntake
from service.events.log import EventLog
from service.events.open_log import open_intake
from service.settings import Settings
from service.telemetry.metrics import Metrics

A, B = "bigger/1/control", "bigger/1/candidate"
DAY_S = 86_400.0
EXAMPLES = itertools.count(1)

Use = Callable[..., None]


def shown(event_id: str, items: int = 4, **changes: Any) -> Event:
    """An impression of ann's of items 0 to items - 1, as the service logs it."""
    fields = {"kind": "impression", "item_id": "", "value": items, "items": [f"item-{i}" for i in range(items)]}
    return made(event_id, **fields | {"request_id": "r1", "arm": A} | changes)


def bought(event_id: str, **changes: Any) -> Event:
    return made(event_id, **{"kind": "purchase", "value": 2.5, "quantity": 2, "arm": A} | changes)


async def totals(log: EventLog, label: str = A) -> ArmTotals:
    return (await log.arm_totals([label]))[label]


def test_an_arm_without_events_has_zeros(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        assert await log.arm_totals([A, B]) == {A: ArmTotals(), B: ArmTotals()}
        assert await log.arm_totals([]) == {}

    use(steps)


def test_a_user_counts_once_for_an_arm_however_often_it_is_shown(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([shown("1"), shown("2", request_id="r2"), shown("3", 2, user_id="bob", request_id="r3")])
        assert await totals(log) == ArmTotals(users=2, shown=10, shown_squared=8 * 8 + 2 * 2)

    use(steps)


def test_an_answer_that_service_and_client_log_counts_once_and_its_explored_items_too(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([shown("of the client", arm=None), shown("of the service"), shown("explored:r1:1", 2)])
        await log.append([shown("again", user_id="bob"), *several(3, request_id="r1", arm=A)])
        found = await totals(log)
        assert (found.users, found.shown, found.clicks) == (2, 4, 1)
        assert found.shown_clicks == 4  # the user of its first impression that names one clicked

    use(steps)


def test_impressions_without_a_request_id_add_their_items_and_explored_ones_none(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([shown("1", request_id=None), shown("2", request_id=None)])
        await log.append([shown("explored:3", request_id=None, user_id="bob")])
        assert await totals(log) == ArmTotals(users=1, shown=8, shown_squared=64)

    use(steps)


def test_clicks_count_for_the_arm_of_their_answer_before_and_after_its_impression(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([made("early", request_id="r1"), shown("1"), shown("2", arm=B, request_id="r2")])
        await log.append([made("late", request_id="r2", item_id="item-3", arm=A)])
        await log.append([made("of no answer", arm=A), made("of another", request_id="r3", arm=A)])
        one = {"users": 1, "shown": 4, "shown_squared": 16, "clicks": 1, "clicks_squared": 1, "shown_clicks": 4}
        assert await log.arm_totals([A, B]) == dict.fromkeys([A, B], ArmTotals(**one))  # type: ignore[arg-type]

    use(steps)


def test_conversions_count_with_and_without_a_request_once_their_user_was_exposed(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([bought("before"), shown("1"), bought("after", request_id="r1"), bought("alone")])
        await log.append([bought("of another arm", arm=B), bought("of nobody exposed", user_id="bob")])
        await log.append([bought("without an arm", arm=None), bought("another", value=1)])
        found = await totals(log)
        assert (found.converters, found.conversions, found.revenue, found.revenue_squared) == (1, 3, 12.0, 144.0)
        assert await totals(log, B) == ArmTotals()

    use(steps)


def test_squares_of_the_largest_amounts_do_not_overflow(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        most = bought("most", value=MOST_PAID, quantity=None)
        more = [most.model_copy(update={"event_id": f"most-{i}"}) for i in range(9)]
        await log.append([shown("1", value=100_000), most, *more])
        found = await totals(log)
        assert found.revenue == 10 * MOST_PAID
        assert found.revenue_squared == pytest.approx((10 * MOST_PAID) ** 2)
        assert found.shown_squared == 100_000**2

    use(steps)


def test_events_older_than_retention_count_for_no_arm(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        old = {"timestamp": NOON - 2 * DAY_S}
        await log.append([shown("old", **old), shown("older", request_id=None, **old)])
        assert await totals(log) == ArmTotals()
        await log.append([shown("new"), bought("old purchase", **old)])
        assert await totals(log) == ArmTotals(users=1, shown=4, shown_squared=16)

    use(steps, event_retention_days=1)


def test_a_forgotten_person_leaves_the_sums_of_an_arm_and_comes_back_as_another(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        await log.append([shown("1"), bought("2"), shown("3", user_id="bob", request_id="r2")])
        before = await totals(log)
        await log.forget("ann", await log.last_position())
        assert await totals(log) == before
        await log.append([made("click", request_id="r1"), bought("not exposed"), bought("4", user_id="bob")])
        after = await totals(log)
        assert (after.users, after.clicks, after.converters) == (before.users, 0, 2)
        await log.append([shown("5", request_id="r3")])
        assert (await totals(log)).users == 3

    use(steps)


def test_an_exposure_is_forgotten_also_when_its_events_have_left_the_log(use: Use) -> None:
    ticking = iter(range(10**9, 10**12, 100))

    async def steps(log: EventLog) -> None:
        await log.append([shown("1"), *several(300, user_id="bob")])
        await log.mark_exported(301)
        for i in range(3):
            await log.append([made(f"later-{i}", user_id="bob")])
        assert await log.events_of("ann") == []
        await log.forget("ann", await log.last_position())
        await log.append([bought("2")])
        assert (await totals(log)).conversions == 0

    use(steps, clock=lambda: float(next(ticking)), events_kept=1)


def test_events_keep_their_arm(use: Use) -> None:
    async def steps(log: EventLog) -> None:
        sent = [shown("1"), made("2", arm=B), made("3")]
        await log.append(sent)
        assert [event for _, event in await log.read(0, 10)] == sent
        assert [event for _, event in await log.events_of("ann")] == sent

    use(steps)


def expected(sent: list[Event]) -> dict[str, ArmTotals]:
    """By the rules of arms.py, from all events at once, in their order."""
    users: dict[tuple[str, str], list[float]] = {}
    owners: dict[str, tuple[str, str]] = {}
    by_request: dict[str, list[Event]] = defaultdict(list)
    for event in sent:
        if event.request_id:
            by_request[event.request_id].append(event)
        if event.arm is None or not event.user_id:
            continue
        key = (event.arm, event.user_id)
        if event.kind == "impression":
            row = users.setdefault(key, [0, 0, 0, 0])
            if event.request_id:
                owners.setdefault(event.request_id, key)
            else:
                row[0] += int(event.value)
        elif event.kind == "purchase" and key in users:
            users[key][2:] = [users[key][2] + 1, users[key][3] + event.paid / 1000]
    for request_id, key in owners.items():
        of_it = by_request[request_id]
        counted = figures([event for event in of_it if event.kind == "impression"], of_it)
        users[key][:2] = [users[key][0] + counted["shown"], users[key][1] + counted["clicked"]]
    found: dict[str, ArmTotals] = defaultdict(ArmTotals)
    for (label, _), (n, clicks, n_bought, paid) in users.items():
        squares = {
            "shown_squared": n * n,
            "clicks_squared": clicks * clicks,
            "shown_clicks": n * clicks,
            "revenue_squared": paid * paid,
        }
        one = ArmTotals(1, n, clicks, n_bought > 0, n_bought, paid, **squares)
        found[label] = found[label].plus(one)
    return found


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(
        st.tuples(events, st.sampled_from(["", "ann", "ann", "bob"]), st.sampled_from([None, A, A, B])),
        max_size=20,
        unique_by=lambda one: one[0].event_id,
    ),
    data=st.data(),
)
def test_totals_are_the_sums_over_the_users_of_all_events_however_often_each_is_sent(
    use: Use, drawn: list[tuple[Event, str, str | None]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(drawn)))

    async def steps(log: EventLog) -> None:
        mine = f"{next(EXAMPLES)}-"  # examples share one log

        def own(event: Event, user_id: str, arm: str | None) -> Event:
            request_id = event.request_id and mine + event.request_id
            user_id = user_id if event.kind == "impression" else user_id or "ann"
            given = {"event_id": mine + event.event_id, "request_id": request_id, "user_id": user_id}
            return event.model_copy(update=given | {"arm": arm and mine + arm})

        sent = [own(*one) for one in drawn]
        await log.append(sent[:cut])
        await log.append(sent)
        wanted = expected(sent)
        found = await log.arm_totals([mine + A, mine + B])
        assert {label: asdict(one) for label, one in found.items()} == {
            label: pytest.approx(asdict(wanted[label])) for label in found
        }

    use(steps, event_retention_days=100_000)


def intake(folder: Path, steps: Callable[[EventIntake], Awaitable[None]]) -> dict[str, str | None]:
    """Take the steps; return the arms of all events by id."""

    async def run() -> dict[str, str | None]:
        async with open_intake(Settings(registry=folder), Metrics(), lambda: NOON) as feedback:
            await steps(feedback)
            await feedback.close()
            return {event.event_id: event.arm for _, event in await feedback.log.read(0, 100) if event}

    return asyncio.run(run())


def test_an_event_gets_the_arm_of_its_user_when_it_comes(tmp_path: Path) -> None:
    async def steps(feedback: EventIntake) -> None:
        click = {"user_id": "ann", "item_id": "item-1", "kind": "click"}
        await feedback.accept([GivenEvent(event_id="before", **click)])  # type: ignore[arg-type]
        feedback.arm_of = {"ann": A}.get
        unnamed = GivenEvent(event_id="unnamed", user_id="", kind="impression")
        others = [GivenEvent(event_id="bob", **click | {"user_id": "bob"}), unnamed]  # type: ignore[arg-type]
        await feedback.accept([GivenEvent(event_id="after", **click), *others])  # type: ignore[arg-type]

    assert intake(tmp_path, steps) == {"before": None, "after": A, "bob": None, "unnamed": None}


def test_the_services_own_impressions_keep_the_arm_that_they_are_given(tmp_path: Path) -> None:
    async def steps(feedback: EventIntake) -> None:
        feedback.arm_of = lambda _: A
        feedback.record_impression("r1", "ann", "b1", ["item-1"], ["item-1"], arm=B)
        feedback.record_impression("forced", "ann", "b1", ["item-1"])

    arms = {event_id.rpartition(":")[0]: arm for event_id, arm in intake(tmp_path, steps).items()}
    assert arms == {"shown:r1": B, "explored:r1": B, "shown:forced": None}


def test_a_caller_sends_no_arm() -> None:
    with pytest.raises(ValidationError, match="arm"):
        GivenEvent.model_validate({"user_id": "ann", "item_id": "item-1", "kind": "click", "arm": A})
