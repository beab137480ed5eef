"""The job store of one replica, or of several processes on one machine: a SQLite file."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from index.errors import InputError
from service.retrain.job import Job
from service.retrain.job_store import (
    MAX_JOBS,
    JobStoreUnavailableError,
    MessageKind,
    OnUnreadable,
    ignore_unreadable,
    parse_job,
)
from service.sqlite_files import BUSY_MS, SQLITE_ERRORS, is_wrong, stored_text

T = TypeVar("T")

# The unique index allows one running job: a second insert fails, from any process.
SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (one INTEGER PRIMARY KEY CHECK (one = 1), token INTEGER, expires_at REAL) STRICT;
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, running INTEGER, record TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_runs ON jobs (running) WHERE running = 1;
CREATE TABLE IF NOT EXISTS words (
    job_id TEXT NOT NULL, word TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (job_id, word)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO lease VALUES (1, 0, 0);
"""


class SqliteJobStore:
    """A JobStore with one thread and one connection. Each call is a transaction that is on disk when it returns."""

    def __init__(self, path: Path, clock: Callable[[], float], on_unreadable: OnUnreadable = ignore_unreadable) -> None:
        self._clock = clock
        self._on_unreadable = on_unreadable
        self._path = path
        self._thread = ThreadPoolExecutor(1, "control")
        self._connection: sqlite3.Connection | None = None
        with suppress(JobStoreUnavailableError):  # until the disk takes it, retraining is refused
            self._open()

    def _open(self) -> sqlite3.Connection:
        """The connection; InputError where the file is wrong, JobStoreUnavailableError where the disk refuses."""
        if self._connection is not None:
            return self._connection
        connection = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.text_factory = stored_text
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(SCHEMA)
        except (*SQLITE_ERRORS, OSError) as error:
            if connection is not None:
                connection.close()
            if is_wrong(error, self._path):
                raise InputError(f"{self._path}: cannot be used: {error}; expected a writable file") from None
            raise JobStoreUnavailableError(f"the job store cannot be used: {error}") from error
        self._connection = connection
        return connection

    async def acquire_lease(self, ttl_s: float) -> int | None:
        def take(connection: sqlite3.Connection) -> int | None:
            now = self._clock()
            # An expiry further ahead than a lease can be was written before the clock was set back.
            free = "expires_at <= ? OR expires_at > ?"
            changed = connection.execute(
                f"UPDATE lease SET token = token + 1, expires_at = ? WHERE {free} RETURNING token",
                (now + ttl_s, now, now + 2 * ttl_s),
            ).fetchone()
            return changed and int(changed[0])

        return await self._in_thread(take)

    async def renew_lease(self, token: int, ttl_s: float) -> bool:
        expires_at = self._clock() + ttl_s
        return await self._in_thread(
            lambda c: c.execute("UPDATE lease SET expires_at = ? WHERE token = ?", (expires_at, token)).rowcount == 1
        )

    async def release_lease(self, token: int) -> None:
        await self._in_thread(lambda c: c.execute("UPDATE lease SET expires_at = 0 WHERE token = ?", (token,)))

    async def submit(self, job: Job) -> Job | None:
        def add(connection: sqlite3.Connection) -> Job | None:
            running = self._find_running(connection)
            if running is None:
                connection.execute(
                    "INSERT INTO jobs (id, running, record) VALUES (?, 1, ?)", (job.id, job.model_dump_json())
                )
                _delete_old(connection)
            return running

        return await self._in_thread(add)

    async def save(self, job: Job, token: int) -> bool:
        running = None if job.has_ended else 1
        statement = """UPDATE jobs SET record = ?, running = ? WHERE id = ?
            AND EXISTS (SELECT 1 FROM lease WHERE token = ?)"""
        values = (job.model_dump_json(), running, job.id, token)
        return await self._in_thread(lambda connection: connection.execute(statement, values).rowcount == 1)

    async def running(self) -> Job | None:
        return await self._in_thread(self._find_running)

    async def find(self, job_id: str) -> Job | None:
        statement = "SELECT record FROM jobs WHERE id = ?"
        row = await self._in_thread(lambda connection: connection.execute(statement, (job_id,)).fetchone())
        return None if row is None else parse_job(row[0], self._on_unreadable)

    async def newest(self, limit: int) -> Sequence[Job]:
        statement = "SELECT record FROM jobs ORDER BY number DESC LIMIT ?"
        rows = await self._in_thread(lambda connection: connection.execute(statement, (limit,)).fetchall())
        return [job for (record,) in rows if (job := parse_job(record, self._on_unreadable)) is not None]

    async def post_message(self, job_id: str, kind: MessageKind, text: str) -> bool:
        statement, values = "INSERT OR IGNORE INTO words VALUES (?, ?, ?)", (job_id, kind, text)
        return await self._in_thread(lambda connection: connection.execute(statement, values).rowcount == 1)

    async def messages(self, job_id: str) -> dict[str, str]:
        statement = "SELECT word, text FROM words WHERE job_id = ?"
        return dict(await self._in_thread(lambda connection: connection.execute(statement, (job_id,)).fetchall()))

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            with connection:  # commits, or rolls back after an exception
                return work(connection)
        except (*SQLITE_ERRORS, InputError) as error:
            raise JobStoreUnavailableError(f"the job store cannot be used: {error}") from error

    def _find_running(self, connection: sqlite3.Connection) -> Job | None:
        """The running job; a record that is none no longer counts as running, and makes room for the next job."""
        row = connection.execute("SELECT record FROM jobs WHERE running = 1").fetchone()
        job = None if row is None else parse_job(row[0], self._on_unreadable)
        if row is not None and job is None:
            connection.execute("UPDATE jobs SET running = NULL WHERE running = 1")
        return job


def _delete_old(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM jobs WHERE running IS NULL AND number <= (SELECT max(number) FROM jobs) - ?", (MAX_JOBS,)
    )
    connection.execute("DELETE FROM words WHERE job_id NOT IN (SELECT id FROM jobs)")
