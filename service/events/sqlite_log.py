"""The log of one replica: a SQLite file in WAL mode, every acknowledged event on disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import orjson
import structlog

from service.events.event import Event
from service.events.group_commit import GroupCommit
from service.events.log import Appended, Count, LogUnavailable
from service.events.quality import bucket_of
from service.events.schema import COLUMNS, OF_PROFILE, connect, prepare
from service.settings import Settings
from service.telemetry.metrics import Metrics

T = TypeVar("T")

DAY_S = 86_400.0
TIDY_EVERY_S = 60.0
TIDY_ROWS = 5_000  # removed a transaction: an append waits for one of these at most
MOST_ROWS = 512  # a statement; a power of two, so that any number of events needs few different statements

_NAMES = ", ".join(COLUMNS)
_ROW = f"({', '.join('?' * (len(COLUMNS) + 1))})"
_OF_USER = f"""SELECT {_NAMES} FROM events WHERE user_id = ? AND {OF_PROFILE} ORDER BY position DESC LIMIT ?"""
_READ = f"SELECT position, {_NAMES} FROM events WHERE position > ? ORDER BY position LIMIT ?"

log = structlog.get_logger()


class SqliteLog:
    """One thread writes, many appends a transaction; readers see what is committed and block nobody.

    The clock gives unix seconds: retention goes by when an event was accepted, never by what its caller says.
    """

    def __init__(self, path: Path, settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> None:
        prepare(path)
        self._path = path
        self._settings = settings
        self._clock = clock
        self._writes: sqlite3.Connection | None = None
        self._reads = connect(path, read_only=True, busy_ms=0)  # the event loop waits for nobody
        self._thread = ThreadPoolExecutor(1, "event-log")
        self._tidy_at = 0.0
        self._commits = GroupCommit(self._write, self._tidy, metrics, most_waiting=settings.events_waiting)

    async def append(self, events: Sequence[Event]) -> Appended:
        """See EventLog."""
        return await self._commits.append(events)

    async def of_user(self, user_id: str) -> list[Event]:
        """See EventLog. In the event loop: a look into an index costs less than handing it to a thread."""
        try:
            rows = self._reads.execute(_OF_USER, (user_id, self._settings.events_per_user)).fetchall()
        except sqlite3.Error as error:
            raise LogUnavailable(f"the event log cannot be read: {error}") from error
        return [_event(row) for row in reversed(rows)]

    async def last_position(self) -> int:
        """See EventLog."""
        return await self._ask(_last)

    async def count_since(self, position: int) -> int:
        """See EventLog. Positions have no gaps, so two looks at the ends are enough."""

        def count(connection: sqlite3.Connection) -> int:
            (first,) = connection.execute("SELECT ifnull(min(position), 1) FROM events").fetchone()
            held: int = _last(connection) - max(position, first - 1)
            return max(0, held)

        return await self._ask(count)

    async def read(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """See EventLog."""

        def read(connection: sqlite3.Connection) -> list[tuple[int, Event]]:
            return [(position, _event(row)) for position, *row in connection.execute(_READ, (after, limit))]

        return await self._ask(read)

    async def counts_since(self, since: float) -> list[Count]:
        """See EventLog."""
        sums = "SELECT bundle, name, sum(n) FROM counts WHERE bucket >= ? GROUP BY bundle, name"
        rows = await self._ask(lambda connection: connection.execute(sums, (bucket_of(since),)).fetchall())
        return [Count(*row) for row in rows]

    async def mark_exported(self, position: int) -> None:
        """See EventLog."""

        def mark(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE state SET exported = max(exported, min(?, ?))", (position, _last(connection)))

        await self._change(mark)

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        await self._commits.close()
        self._thread.shutdown()
        self._reads.close()
        if self._writes is not None:
            self._writes.close()

    async def _write(self, events: list[Event]) -> list[str]:
        accepted_at = self._clock()
        return await self._change(lambda connection: _insert(connection, events, accepted_at))

    async def _tidy(self) -> None:
        """Remove a few old events that were exported, now and then; more of them after the next write."""
        now = self._clock()
        if abs(now - self._tidy_at) < TIDY_EVERY_S:  # a clock that jumps back must not stop it for long
            return
        oldest, kept = now - self._settings.event_retention_days * DAY_S, self._settings.events_kept
        try:
            removed = await self._change(lambda connection: _remove_old(connection, oldest, kept))
        except LogUnavailable:
            return  # told already; the next write will tell again
        if removed < TIDY_ROWS:
            self._tidy_at = now

    async def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction in the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._writes is None:
                self._writes = connect(self._path)
            self._writes.execute("BEGIN IMMEDIATE")
            result = work(self._writes)
            self._writes.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up()
            log.error("event log cannot be written", error=repr(error))
            raise LogUnavailable(f"the event log cannot be written: {error}") from error
        return result

    def _give_up(self) -> None:
        """Closing rolls back, whatever state the error left; the next write begins with a new connection."""
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """A read that may take a while, on a connection and a thread of its own."""

        def ask() -> T:
            with closing(connect(self._path, read_only=True)) as connection:
                return question(connection)

        try:
            return await asyncio.to_thread(ask)
        except sqlite3.Error as error:
            raise LogUnavailable(f"the event log cannot be read: {error}") from error


def _event(row: Sequence[Any]) -> Event:
    return Event.model_validate(dict(zip(COLUMNS, row, strict=True)))


def _last(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT ifnull(max(position), 0) FROM events").fetchone()
    return int(last)


def _insert(connection: sqlite3.Connection, events: Sequence[Event], accepted_at: float) -> list[str]:
    """The ids of the events that were new.

    Many rows a statement and one row of JSON for the answer: each step of SQLite gives the interpreter's lock away,
    and a busy event loop is slow to give it back.
    """
    before = _last(connection)
    for rows in _in_powers_of_two(events):
        values = [value for event in rows for value in (*(getattr(event, name) for name in COLUMNS), accepted_at)]
        statement = f"INSERT INTO events ({_NAMES}, accepted_at) VALUES {', '.join([_ROW] * len(rows))}"
        connection.execute(f"{statement} ON CONFLICT (event_id) DO NOTHING", values)
    new = connection.execute("SELECT json_group_array(event_id) FROM events WHERE position > ?", (before,))
    ids: list[str] = orjson.loads(new.fetchone()[0])
    return ids


def _in_powers_of_two(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    start = 0
    while start < len(events):
        size = min(MOST_ROWS, 1 << (len(events) - start).bit_length() - 1)
        yield events[start : start + size]
        start += size


def _remove_old(connection: sqlite3.Connection, oldest: float, kept: int) -> int:
    """Remove at most TIDY_ROWS exported events that are too old or too many, and sums as old; how many events."""
    (exported,) = connection.execute("SELECT exported FROM state").fetchone()
    last = _last(connection)
    in_time = "SELECT ifnull(max(position), 0) FROM (SELECT * FROM events ORDER BY position LIMIT ?)"
    (expired,) = connection.execute(f"{in_time} WHERE accepted_at < ?", (TIDY_ROWS, oldest)).fetchone()
    until = min(exported, max(expired, last - kept), last - 1)  # the newest stays: it holds the position
    some = "SELECT position FROM events WHERE position <= ? ORDER BY position LIMIT ?"
    removed = connection.execute(f"DELETE FROM events WHERE position IN ({some})", (until, TIDY_ROWS)).rowcount
    for table in ("answers", "counts"):
        connection.execute(f"DELETE FROM {table} WHERE bucket < ?", (bucket_of(oldest),))
    return removed
