"""What may happen to a file: it is garbage, it cannot be written, the disk is full."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from made_events import NOON, made, several

from index.errors import InputError
from service.events.counting import COUNTING
from service.events.event import Event
from service.events.log import LogUnavailable
from service.events.open_log import FILE
from service.events.schema import EVENTS, VERSION_2
from service.events.sqlite_log import DAY_S, SqliteLog
from service.settings import Settings
from service.sqlite_files import BUSY_MS
from service.telemetry.metrics import Metrics


def opened(folder: Path) -> SqliteLog:
    return SqliteLog(folder / FILE, Settings(registry=folder), Metrics(), lambda: 0.0)


def use(folder: Path, steps: Callable[[SqliteLog], Awaitable[None]]) -> None:
    async def run() -> None:
        log = opened(folder)
        try:
            await steps(log)
        finally:
            await log.close()

    asyncio.run(run())


async def ids(log: SqliteLog) -> list[str]:
    return [event.event_id for _, event in await log.read(0, 100_000)]


def test_garbage_in_place_of_the_log_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    garbage = b"not a database, but something that somebody may still want" * 100
    (tmp_path / FILE).write_bytes(garbage)
    with pytest.raises(InputError, match=rf"{FILE}: cannot be used: file is not a database"):
        opened(tmp_path)
    assert (tmp_path / FILE).read_bytes() == garbage


def test_a_log_whose_first_page_was_overwritten_is_refused(tmp_path: Path) -> None:
    use(tmp_path, lambda log: write(log, several(500)))
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 2_000)
    with pytest.raises(InputError, match=r"cannot be used: .*malformed"):
        opened(tmp_path)


async def write(log: SqliteLog, events: list[Event]) -> None:
    assert (await log.append(events)).n_new == len(events)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("CREATE TABLE mine (x)", "found application id 0x0 and schema 0, expected 0x5245434f and 1 to 3"),
        ("PRAGMA application_id = 0x5245434F; PRAGMA user_version = 4", "schema 4, expected 0x5245434f and 1 to 3"),
    ],
)
def test_somebody_elses_database_or_a_later_schema_is_refused(tmp_path: Path, change: str, said: str) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.executescript(change)
    with pytest.raises(InputError, match=said):
        opened(tmp_path)


# The tables of release 0.1.0, whose triggers counted without items.
OF_0_1_0 = f"""
{EVENTS}
CREATE TABLE answers (
    request_id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, bundle TEXT NOT NULL,
    shown INTEGER NOT NULL, clicks INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_bucket ON answers (bucket);
CREATE TRIGGER event_counted AFTER INSERT ON events BEGIN SELECT raise(ABORT, 'the old trigger'); END;
CREATE TRIGGER event_of_an_answer AFTER INSERT ON events BEGIN SELECT raise(ABORT, 'the old trigger'); END;
CREATE TRIGGER answer_shown AFTER INSERT ON answers BEGIN SELECT raise(ABORT, 'the old trigger'); END;
INSERT INTO counts VALUES (0, 'b1', 'answers', 3);
"""


def test_a_log_of_the_first_release_is_taken_on_and_counts_go_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as old:
        old.executescript(OF_0_1_0)

    async def steps(log: SqliteLog) -> None:
        await log.append([made("1", request_id="r1"), made("2", request_id="r1", kind="impression", bundle="b1")])
        counted = {count.name: count.n for count in await log.counts_since(0) if count.bundle == "b1"}
        assert (counted["answers"], counted["clicked"]) == (4, 1)

    use(tmp_path, steps)
    use(tmp_path, lambda log: write(log, [made("3")]))


# The tables of version 1, with a user's events of two kinds and an answer that was shown.
OF_VERSION_1 = f"""
{EVENTS}
{COUNTING}
CREATE TRIGGER event_counted AFTER INSERT ON counts BEGIN SELECT raise(ABORT, 'the old trigger'); END;
CREATE TRIGGER answer_changed AFTER UPDATE ON answers BEGIN SELECT raise(ABORT, 'the old trigger'); END;
INSERT INTO events VALUES
    (1, 'e1', 'ann', 'item-1', 'wishlist', 1, {NOON}, NULL, NULL, {NOON}, NULL),
    (2, 'e2', 'ann', 'item-2', 'view', 1, {NOON}, 'r1', 'b1', {NOON}, NULL);
INSERT INTO answers (request_id, touched, bucket, bundle, listed) VALUES ('r1', {NOON:.0f}, {NOON:.0f}, 'b1', 2);
"""


@pytest.mark.parametrize("script", [OF_VERSION_1, OF_VERSION_1 + VERSION_2], ids=["1", "2"])
def test_a_log_of_an_earlier_version_is_migrated_once_and_goes_on(tmp_path: Path, script: str) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as old:
        old.executescript(f"{script}; PRAGMA user_version = {1 if script == OF_VERSION_1 else 2}")

    async def steps(log: SqliteLog) -> None:
        assert await ids(log) == ["e1", "e2"]
        assert [event.event_id for event in await log.user_events("ann")] == ["e2"]
        await log.append([made("e3", request_id="r1", kind="purchase", value=2.5, quantity=2, item_id="item-2")])
        counted = {count.name: count.n for count in await log.counts_since(0)}
        assert counted == {"conversions": 1, "revenue": 5_000, "purchase": 1}
        await log.append([made("shown again", request_id="r1", kind="impression", arm="x/1/a", item_id="item-2")])
        totals = (await log.arm_totals(["x/1/a"]))["x/1/a"]
        assert (totals.users, totals.shown, totals.conversions) == (1, 2, 0)

    def version() -> tuple[int, int]:
        with closing(sqlite3.connect(tmp_path / FILE)) as file:
            names = ("user_version", "schema_version")
            found = [file.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
            return found[0], found[1]

    use(tmp_path, steps)
    migrated = version()
    use(tmp_path, lambda log: write(log, [made("e4")]))
    assert (migrated[0], version()) == (3, migrated)


def test_old_answers_are_removed_with_their_items_a_limited_number_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.events.sqlite_log.TIDY_ROWS", 3)
    now = NOON

    async def steps() -> None:
        nonlocal now
        log = SqliteLog(tmp_path / FILE, Settings(registry=tmp_path, event_retention_days=1), Metrics(), lambda: now)
        await log.append([made(str(i), request_id=f"r{i}") for i in range(5)])
        now += 3 * 86_400
        for i in range(3):
            await log.append([made(f"later-{i}", request_id="later", timestamp=now)])
        await log.close()

    asyncio.run(steps())
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        assert file.execute("SELECT request_id FROM answers").fetchall() == [("later",)]
        assert file.execute("SELECT request_id FROM answer_items").fetchall() == [("later",)]


def test_users_of_an_arm_without_events_are_removed_a_limited_number_at_a_time_and_its_sums_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.events.sqlite_log.TIDY_ROWS", 3)
    now = NOON

    async def steps() -> tuple[int, int]:
        nonlocal now
        log = SqliteLog(tmp_path / FILE, Settings(registry=tmp_path, event_retention_days=1), Metrics(), lambda: now)
        old = {"kind": "impression", "arm": "x/1/a", "timestamp": now}
        await log.append([made(str(i), user_id=f"user-{i}", **old) for i in range(5)])
        now += 3 * DAY_S
        for i in range(3):
            await log.append([made(f"later-{i}", timestamp=now, kind="impression", arm="x/2/a")])
        kept = (await log.arm_totals(["x/1/a"]))["x/1/a"].users
        with closing(sqlite3.connect(tmp_path / FILE)) as file:
            assert file.execute("SELECT user_id FROM exposed_users").fetchall() == [("ann",)]
        now += 400 * DAY_S
        await log.append([made("last", timestamp=now)])
        await log.append([made("after", timestamp=now)])
        left = (await log.arm_totals(["x/1/a"]))["x/1/a"].users
        await log.close()
        return kept, left

    assert asyncio.run(steps()) == (5, 0)


def test_of_whole_days_their_sums_are_read_and_not_their_buckets(tmp_path: Path) -> None:
    async def steps(log: SqliteLog) -> None:
        await log.append([made(str(i), timestamp=NOON + 3_600 * i) for i in range(48)])
        with closing(sqlite3.connect(tmp_path / FILE)) as other, other:
            other.execute("DELETE FROM counts WHERE bucket >= ?", (NOON + 86_400,))
        assert [count.n for count in await log.counts_since(NOON - 86_400)] == [48]

    use(tmp_path, steps)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(InputError, match="cannot be used"):
        opened(tmp_path)
    with pytest.raises(InputError, match="cannot be used"):
        SqliteLog(Path("/dev/null/events.sqlite"), Settings(registry=tmp_path), Metrics(), lambda: 0.0)


def test_two_processes_may_open_one_log_at_once_and_number_its_events_together(tmp_path: Path) -> None:
    async def steps(one: SqliteLog) -> None:
        other = opened(tmp_path)
        await asyncio.gather(*(log.append(several(5, start=5 * i)) for i in range(20) for log in (one, other)))
        assert sorted(await ids(one)) == sorted(event.event_id for event in several(100))
        assert [position for position, _ in await other.read(0, 1_000)] == list(range(1, 101))
        await other.close()

    use(tmp_path, steps)


def test_a_full_disk_refuses_events_and_keeps_none_of_them_until_there_is_room_again(tmp_path: Path) -> None:
    async def steps(log: SqliteLog) -> None:
        await write(log, several(100))
        assert log._database._writes is not None
        (pages,) = log._database._writes.execute("PRAGMA page_count").fetchone()
        log._database._writes.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LogUnavailable, match="cannot be written: database or disk is full") as refused:
            await log.append(several(1_000, start=100))
        assert refused.value.headers == {"Retry-After": "5"}
        assert await ids(log) == [event.event_id for event in several(100)]
        # A new connection has no limit: the disk has room again.
        await write(log, several(1_000, start=100))

    use(tmp_path, steps)


def test_a_log_that_another_process_holds_for_long_refuses_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.storage.sqlite_database.BUSY_MS", BUSY_MS // 100)

    async def steps(log: SqliteLog) -> None:
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="database is locked"):
                await log.append([made("1")])
            assert await log.user_events("ann") == []  # readers wait for nobody
            other.execute("ROLLBACK")
        await write(log, [made("1")])

    use(tmp_path, steps)


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    async def steps(log: SqliteLog) -> None:
        for event in several(50):
            asyncio.ensure_future(log.append([event]))  # noqa: RUF006 - nobody is left to wait for it
        await asyncio.sleep(0)

    async def check(log: SqliteLog) -> None:
        assert len(await ids(log)) == 50

    use(tmp_path, steps)
    use(tmp_path, check)
