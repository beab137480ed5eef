"""Events over HTTP: what is taken in, what is refused and why, and what /quality makes of it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import counted, serving, wait_until

from service.events.event import GivenEvent
from service.events.intake import EventIntake
from service.events.open_log import open_intake
from service.http.routes.events import EventsAnswer, QualityAnswer
from service.settings import Settings
from service.telemetry.metrics import Metrics

CLICK = {"user_id": "ann", "item_id": "item-1", "kind": "click"}
LIMITS = {"events_max_batch": 50, "id_max_chars": 64}


@pytest.fixture
def client(registry: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry, data=tmp_path, log_impressions=True, **LIMITS) as client:
        yield client


@pytest.fixture(scope="module")
def refusing(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A service for requests that it refuses, and the folder of its event log, which stays empty."""
    folder = tmp_path_factory.mktemp("refused")
    with serving(registry=registry, data=folder, log_impressions=True, **LIMITS) as client:
        yield client, folder


def held(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "events.sqlite")) as log:
        columns = "event_id, user_id, item_id, kind, value, timestamp, request_id, bundle"
        return log.execute(f"SELECT {columns} FROM events ORDER BY position").fetchall()


def test_an_event_is_on_disk_when_it_is_answered(client: httpx.Client, tmp_path: Path) -> None:
    full = CLICK | {"event_id": "e1", "value": 2.5, "timestamp": 12.25, "request_id": "r1", "bundle": "b1"}
    response = client.post("/events", json=full)
    answer = EventsAnswer.model_validate(response.json())
    assert (response.status_code, answer.accepted, answer.duplicates, answer.unknown_items) == (202, 1, 0, [])
    assert answer.request_id == response.headers["x-request-id"]
    assert held(tmp_path) == [("e1", "ann", "item-1", "click", 2.5, 12.25, "r1", "b1")]


@pytest.mark.parametrize("shape", ["one", "list", "events"])
def test_one_event_or_many_may_come_in_three_shapes(client: httpx.Client, shape: str) -> None:
    two = [CLICK, CLICK | {"item_id": "item-2"}]
    body: Any = {"one": CLICK, "list": two, "events": {"events": two}}[shape]
    assert client.post("/events", json=body).json()["accepted"] == (1 if shape == "one" else 2)


def test_an_empty_list_is_taken_in_as_nothing(client: httpx.Client) -> None:
    assert client.post("/events", json=[]).json()["accepted"] == 0


def test_the_same_event_counts_once_and_events_without_an_id_are_never_the_same(client: httpx.Client) -> None:
    named = CLICK | {"event_id": "e1"}
    assert client.post("/events", json=[named, named, CLICK]).json()["duplicates"] == 1
    again = client.post("/events", json=[named, CLICK]).json()
    assert (again["accepted"], again["duplicates"]) == (1, 1)
    assert counted(client, 'reco_events_total{kind="click"}') == 3
    assert counted(client, "reco_events_known_total") == 2


def test_unknown_items_and_users_are_taken_in_and_items_named(client: httpx.Client, tmp_path: Path) -> None:
    events = [
        {"user_id": "用户七", "item_id": "of the next bundle", "kind": "click"},
        {"user_id": "nul\x00", "item_id": "of the next bundle", "kind": "click"},
        CLICK,
    ]
    assert client.post("/events", json=events).json()["unknown_items"] == ["of the next bundle"]
    assert [row[1] for row in held(tmp_path)] == ["用户七", "nul\x00", "ann"]


def test_an_unknown_kind_is_refused_with_the_known_ones_named(client: httpx.Client, tmp_path: Path) -> None:
    refused = client.post("/events", json=[CLICK, CLICK | {"kind": "wishlist"}])
    assert refused.status_code == 422
    known = "click, dislike, impression, like, purchase, view"
    assert refused.json()["detail"] == f"body: event 1: kind is 'wishlist', expected one of {known}"
    assert held(tmp_path) == []


def test_a_missing_timestamp_is_the_time_of_acceptance(client: httpx.Client, tmp_path: Path) -> None:
    client.post("/events", json=CLICK)
    assert abs(held(tmp_path)[0][5] - time.time()) < 60


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": None}, "body: event.kind: input should be a valid string"),
        ({"kind": "No Kind"}, "body: event.kind: string should match pattern"),
        ({"item_id": ""}, "body: event: user_id or item_id is empty"),
        ({"user_id": ""}, "user_id or item_id is empty"),
        ({"kind": "impression", "value": 0}, "the number of items shown, 1 to 100000"),
        ({"user": "ann"}, "event.user: extra inputs are not permitted"),
        ({"user_id": "x" * 65}, "event 0: user_id has 65 characters, the limit is 64"),
        ({"item_id": "ж" * 65}, "event 0: item_id has 65 characters, the limit is 64"),
        ({"timestamp": -1}, "timestamp: input should be greater than or equal to 0"),
        ({"timestamp": 1.8e12}, "ahead of our clock, the limit is 86400 s; expected unix seconds"),
        ({"request_id": "a b"}, "request_id: string should match pattern"),
        ({"event_id": ""}, "event_id: string should have at least 1 character"),
    ],
)
def test_a_bad_event_is_refused_by_name_and_nothing_of_its_batch_is_kept(
    refusing: tuple[httpx.Client, Path], change: dict[str, Any], said: str
) -> None:
    client, folder = refusing
    response = client.post("/events", json=CLICK | change)
    assert response.status_code == 422
    assert said in response.json()["detail"]
    assert client.post("/events", json=[CLICK, CLICK | change]).status_code == 422
    assert held(folder) == []


@pytest.mark.parametrize("body", [b"", b"[", b"3", b"null", b'"a"', b'[{"a": NaN}]', b'{"events": 3}', b"\xff"])
def test_what_is_no_event_is_refused(refusing: tuple[httpx.Client, Path], body: bytes) -> None:
    client, _ = refusing
    response = client.post("/events", content=body)
    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")


def test_a_batch_beyond_the_limit_is_refused_and_the_limit_named(client: httpx.Client) -> None:
    response = client.post("/events", json=[CLICK] * 51)
    assert (response.status_code, response.json()["detail"]) == (422, "body: has 51 entries, the limit is 50")


def test_more_than_may_wait_is_429_with_the_time_to_come_again(registry: Path, tmp_path: Path) -> None:
    with (
        serving(registry=registry, data=tmp_path, events_waiting=1) as client,
        closing(sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")  # the log's writer has to wait for this one
        with httpx.Client(base_url=client.base_url) as second:
            waiting = asyncio.run(_post_and_leave(str(client.base_url)))
            assert waiting == "waits"
            wait_until(lambda: counted(client, "reco_events_waiting") == 1)
            response = second.post("/events", json=CLICK)
        other.execute("ROLLBACK")
        wait_until(lambda: counted(client, "reco_events_waiting") == 0)
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        assert response.json()["error"] == "overloaded"
        assert counted(client, 'reco_events_refused_total{reason="overloaded"}') == 1
    assert len(held(tmp_path)) == 1  # the first one: taken in, though its caller had gone


async def _post_and_leave(url: str) -> str:
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(60, read=0.3)) as client:
        try:
            await client.post("/events", json=CLICK)
        except httpx.ReadTimeout:
            return "waits"
    return "answered"


def test_answers_shown_and_clicked_are_joined_and_told_by_bundle(client: httpx.Client) -> None:
    client.get("/recommend/user-0?k=4")  # once before, so that one of the five is kept already
    answers = [client.get(f"/recommend/user-{i}?k=4").json() for i in range(5)]
    wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') == 6)
    clicked = answers[2]
    fields = {"user_id": "user-2", "kind": "click", "request_id": clicked["request_id"]}
    client.post("/events", json=[fields | {"item_id": item["item_id"]} for item in clicked["items"][:3]])
    found = QualityAnswer.model_validate(client.get("/quality").json())
    (shown, nameless) = found.bundles
    assert shown.bundle == clicked["bundle"]
    assert (shown.answers, shown.items_shown, shown.clicks, shown.hit_rate) == (6, 24, 3, 1 / 6)
    assert shown.click_through_rate == 3 / 24
    assert (nameless.bundle, nameless.events) == (None, {"click": 3})
    assert found.overall.events == {"click": 3, "impression": 6}
    assert found.until - found.since >= 86_400
    later = client.get(f"/quality?since={time.time() + 900}").json()
    assert (later["overall"]["answers"], later["bundles"]) == (0, [])


def test_answers_to_a_session_are_shown_to_nobody_we_know_or_to_the_user_it_names(
    client: httpx.Client, tmp_path: Path
) -> None:
    for session in ({"items": [{"item_id": "item-3"}]}, {"items": [{"item_id": "item-3"}], "user_id": "ann"}):
        assert client.post("/recommend", json=session).status_code == 200
    wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') == 2)
    assert [row[1:5] for row in held(tmp_path)] == [("", "", "impression", 10.0), ("ann", "", "impression", 10.0)]


def test_bundle_names_that_callers_make_up_are_told_together(client: httpx.Client) -> None:
    known = client.get("/readyz").json()["bundle"]
    named = [CLICK | {"bundle": name} for name in ("made-up-1", "made-up-2", "other", known)]
    client.post("/events", json=named)
    client.post("/events", json=[CLICK | {"bundle": f"made-up-{i}"} for i in range(50)])
    found = QualityAnswer.model_validate(client.get("/quality").json())
    assert {one.bundle: one.events for one in found.bundles} == {"other": {"click": 53}, known: {"click": 1}}


def test_what_client_and_service_both_tell_of_an_answer_counts_once(client: httpx.Client) -> None:
    answer = client.get("/recommend/user-2?k=4").json()
    wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') == 1)
    fields = {"user_id": "user-2", "request_id": answer["request_id"]}
    ids = [item["item_id"] for item in answer["items"]]
    shown = [fields | {"kind": "impression", "item_id": item_id} for item_id in ids]
    clicks = [fields | {"kind": "click", "item_id": item_id} for item_id in (ids[0], ids[0], "not shown")]
    bought = [fields | {"kind": "purchase", "item_id": ids[1]}] * 2
    client.post("/events", json=[*shown, *clicks, *bought])
    found = QualityAnswer.model_validate(client.get("/quality").json()).overall
    assert (found.answers, found.items_shown, found.clicks, found.conversions) == (1, 4, 1, 1)
    assert found.click_through_rate == found.conversion_rate == 0.25
    assert found.click_through_interval == found.conversion_interval == pytest.approx((0.0456, 0.6994), abs=1e-4)


def test_requests_that_share_a_request_id_are_one_answer_with_the_items_of_all(client: httpx.Client) -> None:
    shared = {"X-Request-Id": "page-1"}
    shown: set[str] = set()
    for path in ("/recommend/user-2?k=4", "/recommend/user-2?k=4", "/recommend/user-2?k=4&offset=4"):
        shown |= {item["item_id"] for item in client.get(path, headers=shared).json()["items"]}
    wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') == 2)
    click = {"user_id": "user-2", "request_id": "page-1", "kind": "click"}
    client.post("/events", json=[click | {"item_id": item_id} for item_id in shown])
    found = QualityAnswer.model_validate(client.get("/quality").json()).overall
    assert (found.answers, found.items_shown, found.clicks) == (1, len(shown), len(shown))


HOUR_S = 3_600


def send_answers(client: httpx.Client, *ages_s: float) -> None:
    """Answers of two items so many seconds ago, the first of them clicked now."""
    now = time.time()
    for i, age_s in enumerate(ages_s):
        joined = {"request_id": f"r{i}", "user_id": "ann"}
        client.post("/events", json=joined | {"kind": "impression", "value": 2, "timestamp": now - age_s})
        client.post("/events", json=joined | {"kind": "click", "item_id": "item-1"})


def quality_of(client: httpx.Client, **query: Any) -> QualityAnswer:
    return QualityAnswer.model_validate(client.get("/quality", params=query).raise_for_status().json())


def test_a_window_ends_before_its_until_and_is_of_the_time_of_the_impression(client: httpx.Client) -> None:
    send_answers(client, 5 * HOUR_S, 3 * HOUR_S, HOUR_S)
    now = time.time()
    found = quality_of(client, since=now - 4 * HOUR_S, until=now - 2 * HOUR_S)
    assert (found.overall.answers, found.overall.clicks, found.overall.events) == (1, 1, {"impression": 1})
    assert (found.since % 300, found.until % 300) == (0, 0)
    assert quality_of(client, since=found.until).overall.answers == 1
    assert quality_of(client, until=found.since).overall.answers == 1
    assert found.days is None


def test_without_a_start_a_window_begins_a_day_before_its_end(client: httpx.Client) -> None:
    found = quality_of(client, until=1_800_000_000)
    assert (found.since, found.until) == (1_800_000_000 - 86_400, 1_800_000_000)


def test_days_are_of_24_hours_from_the_start_and_add_up_to_the_window(client: httpx.Client) -> None:
    send_answers(client, 49 * HOUR_S, 47 * HOUR_S, HOUR_S, 0)
    now = time.time()
    found = quality_of(client, since=now - 50 * HOUR_S, by="day")
    assert found.days is not None
    assert [day.answers for day in found.days] == [2, 0, 2]
    assert [day.since for day in found.days] == [found.since + i * 86_400 for i in range(3)]
    assert [day.until for day in found.days] == [*(day.since for day in found.days[1:]), found.until]
    assert found.overall == quality_of(client, since=found.since).overall
    first = quality_of(client, since=found.since, until=found.since + 86_400, by="day")
    assert first.days == found.days[:1]
    assert first.overall.click_through_interval == found.days[0].click_through_interval


def test_31_days_are_not_too_many(client: httpx.Client) -> None:
    found = quality_of(client, since=1_790_000_000, until=1_790_000_000 + 31 * 86_400, by="day")
    assert len(found.days or []) == 31


@pytest.mark.parametrize("end", ["since", "until"])
@pytest.mark.parametrize("time", ["yesterday", "-1", "inf", "nan", "9.4e307"])
def test_a_window_that_begins_or_ends_nowhere_is_refused(client: httpx.Client, end: str, time: str) -> None:
    assert client.get(f"/quality?{end}={time}").status_code == 422


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=1790000100&until=1790000000", "until: found 1790000000, expected 1790000400 or later"),
        ("since=1790000100&until=1790000399", "the window begins at 1790000100, and ends at a multiple of 300 seconds"),
        ("until=299", "until: found 299, expected 300 or later"),
        ("since=1790000000&until=1800000000&by=day", "by: expected at most 31 days, found 115.7; divide the window"),
        ("since=0&by=day", "by: expected at most 31 days"),
        ("by=hour", "by: input should be 'day', found 'hour'"),
    ],
)
def test_a_window_that_holds_nothing_or_too_many_days_is_refused(client: httpx.Client, query: str, said: str) -> None:
    refused = client.get(f"/quality?{query}")
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
    assert said in refused.json()["detail"]


def test_answers_are_not_noted_unless_the_operator_says_so(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path) as client:
        client.get("/recommend/user-1")
        client.post("/events", json=CLICK)
        assert [row[3] for row in held(tmp_path)] == ["click"]


def feedback(folder: Path, steps: Any, clock: Callable[[], float] = lambda: 1e9, **changes: Any) -> Metrics:
    metrics = Metrics()

    async def run() -> None:
        settings = Settings(registry=folder, log_impressions=True, **changes)
        async with open_intake(settings, metrics, clock) as opened:
            await steps(opened)

    asyncio.run(run())
    return metrics


def test_listeners_hear_of_new_events_once_they_are_durable_and_of_no_other(tmp_path: Path) -> None:
    async def steps(feedback: EventIntake) -> None:
        heard: list[str] = []

        def hear(events: Any) -> None:
            on_disk = [row[0] for row in held(tmp_path / "service")]
            heard.extend(event.event_id for event in events if event.event_id in on_disk)

        feedback.listeners.append(hear)
        for event_id in ("a", "a", "b"):
            await feedback.accept([GivenEvent(event_id=event_id, **CLICK)])
        assert heard == ["a", "b"]

    feedback(tmp_path, steps)


def test_a_clock_that_jumps_changes_neither_order_nor_what_is_taken_in(tmp_path: Path) -> None:
    now = 1e9

    async def steps(feedback: EventIntake) -> None:
        nonlocal now
        for i, jump in enumerate((0, 10**8, -(10**8), -(10**7), 3)):
            now += jump
            assert (await feedback.accept([GivenEvent(event_id=str(i), **CLICK)])).n_new == 1
        assert [event.event_id for _, event in await feedback.log.read(0, 10)] == ["0", "1", "2", "3", "4"]
        assert [event.event_id for event in await feedback.log.user_events("ann")] == ["0", "1", "2", "3", "4"]

    feedback(tmp_path, steps, clock=lambda: now)


def test_noted_answers_beyond_the_bound_are_dropped_and_counted_and_the_rest_is_written_at_the_end(
    tmp_path: Path,
) -> None:
    async def steps(feedback: EventIntake) -> None:
        for i in range(30):
            feedback.record_impression(f"r{i}", "ann", "b1", ["item-1", "item-2"])
        feedback.record_impression("empty", "ann", "b1", [])

    metrics = feedback(tmp_path, steps, events_waiting=20)
    assert metrics.registry.get_sample_value("reco_impressions_dropped_total") == 10
    assert len(held(tmp_path / "service")) == 20
