"""Entries of the log that are no events: they are counted, told about once a kind, and in no reader's way."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lively import until
from made_events import NOON, made, several
from processes import run
from servers import Valkey, logged_by

from service.events.event import Event
from service.events.export import export_events
from service.events.follower import EventFollower
from service.events.freshness import EventFreshness
from service.events.log import EventLog
from service.events.open_log import FILE, open_log
from service.events.stream_log import EVENT_BYTES
from service.settings import Settings
from service.telemetry import task_metrics
from service.telemetry.metrics import Metrics

STREAM = "{reco:events}:stream"
WHOLE = made("x").model_dump()
FOREIGN: list[dict[str, Any]] = [
    {"hello": "world"},
    {"event": ""},
    {"event": "no JSON"},
    {"event": "[" * 100_000},
    {"event": "null"},
    {"event": "[]"},
    {"event": b"\xff\xfe"},
    {"event": json.dumps(WHOLE | {"of a later version": 1})},
    {"event": json.dumps({name: value for name, value in WHOLE.items() if name != "user_id"})},
    {"event": json.dumps(WHOLE | {"user_id": "\ud800"})},
    {"event": json.dumps(WHOLE | {"timestamp": "yesterday"})},
    {"event": json.dumps(WHOLE | {"timestamp": -1})},
    {"event": json.dumps(WHOLE | {"value": 10**400})},
    {"event": json.dumps(WHOLE | {"user_id": ["ann"]})},
    {"event": json.dumps(WHOLE | {"user_id": "x" * EVENT_BYTES})},
]
BAD_ROWS: list[dict[str, Any]] = [
    {"kind": "No Kind"},
    {"user_id": ""},
    {"timestamp": -1.0},
    {"value": float("inf")},
    {"event_id": "x" * 1_000},
    {"request_id": "a b"},
    {"user_id": b"\xff\xfe"},
]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), config={"appendonly": "yes"}).start()
    yield server
    server.kill()


class Place:
    """A log, and what another program adds to it."""

    def __init__(self, kind: str, folder: Path, valkey: Valkey) -> None:
        self.metrics, self.kind, self.valkey = Metrics(), kind, valkey
        changes = {"event_log": "redis", "redis_url": valkey.url, "redis_budget_ms": 2_000} if kind == "redis" else {}
        self.settings = Settings(registry=folder, **changes)  # type: ignore[arg-type]
        self.n_foreign = len(FOREIGN if kind == "redis" else BAD_ROWS)

    @asynccontextmanager
    async def log(self) -> AsyncIterator[EventLog]:
        async with open_log(self.settings, self.metrics, lambda: NOON) as log:
            yield log

    def spoil(self) -> None:
        """Add what is no event, with positions as the other program likes."""
        if self.kind == "redis":
            with self.valkey.client() as client:
                for fields in FOREIGN:
                    client.xadd(STREAM, fields)  # the time as id: far beyond our positions
            return
        with sqlite3.connect(self.settings.data_folder / FILE) as connection:
            for i, changes in enumerate(BAD_ROWS):
                row = WHOLE | {"event_id": f"bad-{i}", "accepted_at": NOON} | changes
                row = {name: value for name, value in row.items() if not isinstance(value, list)}
                marks = ", ".join("CAST(? AS TEXT)" if isinstance(value, bytes) else "?" for value in row.values())
                connection.execute(f"INSERT INTO events ({', '.join(row)}) VALUES ({marks})", list(row.values()))

    @property
    def counted(self) -> float:
        return self.metrics.registry.get_sample_value("reco_unreadable_values_total", {"source": "events"}) or 0


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey) -> Place:
    with valkey.client() as client:
        client.flushall()
    return Place(request.param, tmp_path, valkey)


def use(place: Place, steps: Callable[[EventLog], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with place.log() as log:
            await log.append(several(3))
            place.spoil()
            await log.append(several(3, start=3))
            await steps(log)

    asyncio.run(opened())


def test_they_are_read_as_none_counted_each_and_told_about_once_a_kind(place: Place) -> None:
    async def steps(log: EventLog) -> None:
        found = [event for _, event in await log.read(0, 1_000)]
        good = [event.event_id for event in found if event is not None]
        assert good == [event.event_id for event in several(6)]
        assert len(found) == 6 + place.n_foreign
        assert place.counted == place.n_foreign
        pages = [await log.read(after, 1) for after in (0, 3)]
        assert [len(page) for page in pages] == [1, 1]
        assert 6 <= await log.count_since(0) <= 6 + place.n_foreign

    with logged_by(task_metrics) as logs:
        use(place, steps)
    told = [(one["source"], one["kind"]) for one in logs if one["event"].startswith("stored value skipped")]
    assert len(told) == len(set(told)) < place.n_foreign


def test_the_follower_passes_them_from_the_beginning_and_while_it_runs(place: Place) -> None:
    async def steps(log: EventLog) -> None:
        for since in (0.0, NOON - 1, NOON + 1):
            seen: list[Event] = []
            freshness = EventFreshness(lambda: 0.0, 1.0)
            lost: list[int] = []
            follower = EventFollower(
                log,
                freshness,
                place.metrics,
                since=since,
                poll_s=0.01,
                on_events=seen.extend,
                on_loss=lambda lost=lost: lost.append(1),  # type: ignore[misc]
            )
            await follower.poll()
            assert freshness.follows_events
            assert since > NOON or "event-5" in [event.event_id for event in seen]
            await log.append([made(f"after-{since}")])
            await follower.poll()
            assert seen[-1].event_id == f"after-{since}"
            assert lost == []

    use(place, steps)


def test_an_export_skips_and_counts_them(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"

    async def steps(log: EventLog) -> None:
        exported = await export_events(log, out)
        assert (exported.events, exported.unreadable) == (6, place.n_foreign)
        assert tuple(await export_events(log, out, after=exported.last_position))[::3] == (0, 0)
        assert (await export_events(log, out)).events == 6

    use(place, steps)
    assert pq.read_table(out).column("event_id").to_pylist() == [event.event_id for event in several(6)]


def test_the_command_line_exports_beside_them_and_says_how_many_there_are(tmp_path: Path, valkey: Valkey) -> None:
    async def steps(log: EventLog) -> None:
        pass

    place = Place("sqlite", tmp_path, valkey)
    use(place, steps)
    done = run("export-events", "--out", str(tmp_path / "events.parquet"), registry=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["events"], told["unreadable"]) == (6, place.n_foreign)
    assert done.stderr.endswith(f"warning: skipped {place.n_foreign} entries of the log that are no events\n")


def test_a_users_events_are_those_of_the_list_that_can_be_read(place: Place) -> None:
    async def steps(log: EventLog) -> None:
        if place.kind == "redis":
            with place.valkey.client() as client:
                for fields in FOREIGN[:-1]:
                    client.rpush("{reco:events}:user:ann", next(iter(fields.values())))
        assert [event.event_id for event in await log.user_events("ann")] == [event.event_id for event in several(6)]

    use(place, steps)


STATES = [None, {"appends": "x", "exported": "x"}, {"appends": str(2**63 - 1)}, {"appends": "9" * 30}]


@pytest.mark.parametrize("fields", STATES)
def test_a_damaged_state_refuses_no_event_and_stops_no_retention(
    tmp_path: Path, valkey: Valkey, fields: dict[str, str] | None
) -> None:
    place, state = Place("redis", tmp_path, valkey), "{reco:events}:state"

    async def steps(log: EventLog) -> None:
        with valkey.client() as client:
            client.delete(state)
            client.set(state, "x") if fields is None else client.hset(state, mapping=fields)
        assert (await log.append([made("again")])).n_new == 1
        last = await log.last_position()
        await log.mark_exported(last)
        place.settings.__dict__["events_kept"] = 1
        log._tidy_at = 0.0  # type: ignore[attr-defined]
        await log.append([made("and again")])
        with valkey.client() as client:
            await until(lambda: client.xlen(STREAM) == 1)

    with valkey.client() as client:
        client.flushall()
    use(place, steps)


@pytest.mark.parametrize("position", ["9" * 15, "9" * 400, "inf", "nan"])
def test_a_damaged_exported_position_lets_no_event_be_removed(tmp_path: Path, valkey: Valkey, position: str) -> None:
    place = Place("redis", tmp_path, valkey)

    async def steps(log: EventLog) -> None:
        with valkey.client() as client:
            client.hset("{reco:events}:state", "exported", position)
            n = client.xlen(STREAM)
        await log.mark_exported(1)
        place.settings.__dict__["events_kept"] = 1
        log._tidy_at = 0.0  # type: ignore[attr-defined]
        await log.append([made("7")])
        with valkey.client() as client:
            await until(lambda: client.xlen(STREAM) == n, seconds=5)

    with valkey.client() as client:
        client.flushall()
    use(place, steps)


def test_garbage_in_what_is_derived_refuses_no_event_and_spoils_no_figure_beside_it(
    tmp_path: Path, valkey: Valkey
) -> None:
    async def steps(log: EventLog) -> None:
        shown = [made(f"shown-{i}", kind="impression", request_id=f"r{i}", bundle="b") for i in range(2)]
        await log.append(shown)
        with valkey.client() as client:
            for key in client.scan_iter("{reco:events}:*", _type="hash"):
                client.hset(key, mapping={"hello": "x", b"\xff": b"\xff", "1:2": "3", "1:2:3": "x", "::": ""})
            client.zadd("{reco:events}:days", {"x": 1e300, "-5": 1e300, "1.5": 1e300, b"\xff": 1e300})
        assert sum(count.n for count in await log.counts_since(0) if count.name == "impression") == 2
        with valkey.client() as client:
            for key in client.scan_iter("{reco:events}:*", _type="hash"):
                client.hset(key, mapping=dict.fromkeys(client.hkeys(key), "x"))
        clicks = [made(f"click-{i}", kind="click", request_id=f"r{i}", bundle="b") for i in range(2)]
        assert (await log.append(clicks)).n_new == 2
        assert await log.counts_since(0)

    with valkey.client() as client:
        client.flushall()
    use(Place("redis", tmp_path, valkey), steps)
