"""The event log of a single replica: a SQLite file in WAL mode with every acknowledged event on disk."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from service.events.arm_totals import ArmTotals
from service.events.arms import counts_for_arm
from service.events.counting import COUNTS_OF_WINDOW, remove_old_counts
from service.events.event import AS_BOUGHT, Event
from service.events.kinds import BUILT_IN, EventKinds
from service.events.known_bundles import any_bundle
from service.events.log import Appended, EventCount, Forgotten, LogUnavailable
from service.events.schema import COLUMNS, FORMAT, OF_PROFILES, upgrade
from service.events.sqlite_arms import add_arms, read_arm_totals, remove_old_exposure
from service.events.sqlite_forgetting import empty_rows, places_of, wipe
from service.events.window import DAY_S, FOREVER, bucket_of, divided
from service.events.writes import EventWrites
from service.settings import EventSettings
from service.storage.sqlite_database import SqliteDatabase
from service.telemetry.metrics import EventMetrics

TIDY_EVERY_S = 60.0
TIDY_ROWS = 5_000  # removed in one transaction, the most that an append waits for
MOST_ROWS = 512  # in one statement; a power of two, so that few distinct statements serve any number of events

_NAMES = ", ".join(COLUMNS)
_WRITTEN = f"{_NAMES}, role, paid, accepted_at"
_ROW = f"({', '.join('?' * (len(COLUMNS) + 3))})"
_EVENTS_OF = f"SELECT position, {_NAMES} FROM events WHERE user_id = ? ORDER BY position"
_READ = f"SELECT position, {_NAMES} FROM events WHERE position > ? ORDER BY position LIMIT ?"


class SqliteLog:
    """Writes many appends in one transaction from one thread; readers see what is committed and never block it.

    The clock gives unix seconds: retention depends on when an event was accepted, not on its own timestamp. `label` is
    the name under which events that name a bundle are counted.
    """

    def __init__(
        self,
        path: Path,
        settings: EventSettings,
        metrics: EventMetrics,
        clock: Callable[[], float],
        label: Callable[[str | None], str] = any_bundle,
        *,
        kinds: EventKinds = BUILT_IN,
    ) -> None:
        self._path = path
        self._kinds = kinds
        marks = ", ".join("?" * len(kinds.in_profile))
        self._user_events = (
            f"SELECT {_NAMES} FROM events WHERE user_id = ? AND {OF_PROFILES} AND kind IN ({marks}) "
            "ORDER BY position DESC LIMIT ?"
        )
        self._settings = settings
        self._unreadable = metrics.unreadable
        self._clock = clock
        self._label = label
        self._tidy_at = 0.0
        self._database = SqliteDatabase(path, FORMAT, partial(upgrade, counted_s=settings.event_retention_days * DAY_S))
        self._transaction, self._read = self._database.transaction, self._database.read
        self._writes = EventWrites(self._write, self._tidy, metrics, most_waiting=settings.events_waiting)
        self._writes.problem = self._database.problem

    @property
    def problem(self) -> str | None:
        return self._writes.problem

    async def append(self, events: Sequence[Event]) -> Appended:
        return await self._writes.append(events)

    async def user_events(self, user_id: str) -> list[Event]:
        with self._database.reader() as connection:
            limits = (user_id, *self._kinds.in_profile, self._settings.events_per_user)
            rows = connection.execute(self._user_events, limits).fetchall()
        return [event for row in reversed(rows) if (event := self._decode(row)) is not None]

    async def last_position(self) -> int:
        return await self._read(_last_position)

    async def count_since(self, position: int) -> int:
        def count(connection: sqlite3.Connection) -> int:  # from both ends, since positions have no gaps
            (first,) = connection.execute("SELECT ifnull(min(position), 1) FROM events").fetchone()
            n: int = _last_position(connection) - max(position, first - 1)
            return max(0, n)

        return await self._read(count)

    async def read(self, after: int, limit: int) -> list[tuple[int, Event | None]]:
        def read(connection: sqlite3.Connection) -> list[tuple[int, Event | None]]:
            return [(position, self._decode(row)) for position, *row in connection.execute(_READ, (after, limit))]

        return await self._database.read(read)

    async def counts_since(self, since: float, until: float = FOREVER) -> list[EventCount]:
        before, days, after = divided(since, until)
        ends = (*before, *days, *after)
        rows = await self._database.read(lambda connection: connection.execute(COUNTS_OF_WINDOW, ends).fetchall())
        return [EventCount(*row) for row in rows]

    async def arm_totals(self, labels: Sequence[str]) -> dict[str, ArmTotals]:
        return await self._database.read(lambda connection: read_arm_totals(connection, labels))

    async def mark_exported(self, position: int) -> None:
        def mark(connection: sqlite3.Connection) -> None:
            last = _last_position(connection)
            connection.execute("UPDATE state SET exported = max(exported, min(?, ?))", (position, last))

        await self._transaction(mark)

    async def events_of(self, user_id: str) -> list[tuple[int, Event]]:
        def read(connection: sqlite3.Connection) -> list[tuple[int, Event]]:
            rows = connection.execute(_EVENTS_OF, (user_id,))
            return [(position, event) for position, *row in rows if (event := self._decode(row)) is not None]

        return await self._database.read(read)

    async def forget(self, user_id: str, until: int) -> Forgotten:
        # The search, which has no index, runs beside the writer; what it misses are newer events, of a new person.
        places = await self._database.read(lambda connection: places_of(connection, user_id, until))
        return await self._database.transaction(lambda connection: empty_rows(connection, user_id, places))

    async def wipe(self, text: str) -> None:
        await self._database.maintain(lambda connection: wipe(connection, self._path, text))

    async def close(self) -> None:
        """Write the queued events, then close the file."""
        await self._writes.close()
        self._database.close()

    async def _write(self, events: list[Event]) -> list[str]:
        accepted_at = self._clock()
        known = {event.bundle for event in events if event.bundle and self._label(event.bundle) == event.bundle}

        arms = {event.arm for event in events if event.arm is not None and counts_for_arm(event)}

        def write(connection: sqlite3.Connection) -> list[str]:
            if arms:
                add_arms(connection, arms, accepted_at)
            if known:
                connection.execute("INSERT OR IGNORE INTO bundles SELECT value FROM json_each(?)", (_json(known),))
            return _insert(connection, [self._row(event, accepted_at) for event in events])

        return await self._transaction(write)

    async def _tidy(self) -> None:
        """Remove some old exported events every TIDY_EVERY_S, and again after the next write while more remain."""
        now = self._clock()
        if abs(now - self._tidy_at) < TIDY_EVERY_S:  # abs: a clock that jumps back must not stop it for long
            return
        oldest, most = now - self._settings.event_retention_days * DAY_S, self._settings.events_kept
        try:
            removed = await self._database.transaction(lambda connection: _remove_old(connection, now, oldest, most))
        except LogUnavailable:
            return  # logged already
        if removed < TIDY_ROWS:
            self._tidy_at = now

    def _row(self, event: Event, accepted_at: float) -> tuple[Any, ...]:
        *fields, items = (getattr(event, name) for name in COLUMNS)
        role = self._kinds.role(event.kind)
        return (*fields, _json(items) if items else None, role, event.paid if role == AS_BOUGHT else 0, accepted_at)

    def _decode(self, row: Sequence[Any]) -> Event | None:
        """The event of a row; None, counted, where it is none."""
        try:
            return _event(row)
        except ValueError as error:
            self._unreadable.skip("events", error)
            return None


def _event(row: Sequence[Any]) -> Event:
    *fields, items = row
    return Event.model_validate(dict(zip(COLUMNS, (*fields, orjson.loads(items or "[]")), strict=True)))


def _json(values: Iterable[str]) -> str:
    return orjson.dumps(list(values)).decode()


def _last_position(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT ifnull(max(position), 0) FROM events").fetchone()
    return int(last)


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Insert the events and return the ids of the new ones.

    Many rows in one statement, and one row of JSON for the result: each step of SQLite releases the interpreter's lock,
    and a busy event loop delays its return.
    """
    before = _last_position(connection)
    for some in _in_powers_of_two(rows):
        values = [value for row in some for value in row]
        statement = f"INSERT INTO events ({_WRITTEN}) VALUES {', '.join([_ROW] * len(some))}"
        connection.execute(f"{statement} ON CONFLICT (event_id) DO NOTHING", values)
    new = connection.execute("SELECT json_group_array(event_id) FROM events WHERE position > ?", (before,))
    ids: list[str] = orjson.loads(new.fetchone()[0])
    return ids


def _in_powers_of_two(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    start = 0
    while start < len(rows):
        size = min(MOST_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        yield rows[start : start + size]
        start += size


def _remove_old(connection: sqlite3.Connection, now: float, oldest: float, most: int) -> int:
    """Remove at most TIDY_ROWS exported events that are too old or too many, as many answers and users, and old counts.

    Return how many of one kind were removed: fewer than TIDY_ROWS where nothing is left to remove.
    """
    (exported,) = connection.execute("SELECT exported FROM state").fetchone()
    last = _last_position(connection)
    first_rows = "SELECT ifnull(max(position), 0) FROM (SELECT * FROM events ORDER BY position LIMIT ?)"
    (expired,) = connection.execute(f"{first_rows} WHERE accepted_at < ?", (TIDY_ROWS, oldest)).fetchone()
    until = min(exported, max(expired, last - most), last - 1)  # the newest remains, since it holds the position
    chosen = "SELECT position FROM events WHERE position <= ? ORDER BY position LIMIT ?"
    removed = connection.execute(f"DELETE FROM events WHERE position IN ({chosen})", (until, TIDY_ROWS)).rowcount
    exposed = remove_old_exposure(connection, now, oldest, TIDY_ROWS)
    return max(removed, exposed, remove_old_counts(connection, bucket_of(oldest), TIDY_ROWS))
