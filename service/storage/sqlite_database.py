"""A SQLite file of our own in WAL mode: every transaction is on disk when it returns, and readers block no writer."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from index.errors import InputError
from index.storage import sync
from service.sqlite_files import BUSY_MS, SQLITE_ERRORS, connect_to_read, is_unwritten, is_wrong, stored_text
from service.storage.unavailable import StoreUnavailable

T = TypeVar("T")
Upgrade = Callable[[sqlite3.Connection], None]

APPLICATION_ID = 0x5245434F  # "RECO": identifies our files among SQLite files

log = structlog.get_logger()


@dataclass(frozen=True)
class SqliteFormat:
    """What a file of one kind holds."""

    name: str  # in errors: "event log"
    application_id: int
    version: int
    tables: str  # the script that creates them, in a file that has none
    unavailable: type[StoreUnavailable]  # raised where the file cannot be used now
    upgradable: tuple[int, ...] = ()  # older versions, which `upgrade` brings to this one

    @property
    def script(self) -> str:
        """The script that makes an empty database one of this format."""
        marks = f"PRAGMA application_id = {self.application_id};\nPRAGMA user_version = {self.version};\n"
        return f"{self.tables}\n{marks}"


class SqliteDatabase:
    """The file of one format. One thread writes; `read` has threads and connections of its own.

    `upgrade` runs in the transaction that checks the file, and must write something. A file that cannot be written now
    is a `problem` until a transaction succeeds; InputError where the file is wrong.
    """

    def __init__(self, path: Path, form: SqliteFormat, upgrade: Upgrade) -> None:
        self._path = path
        self._form = form
        self._upgrade = upgrade
        self._writes: sqlite3.Connection | None = None
        self._reads: sqlite3.Connection | None = None
        self._is_prepared = False
        self._thread = ThreadPoolExecutor(1, form.name.replace(" ", "-"))
        self.problem: str | None = None  # at the start
        try:
            self._prepare()
        except StoreUnavailable as error:  # until a write succeeds, what can be read is read
            self.problem = error.detail
            log.error("store cannot be written", store=form.name, error=error.detail)

    def _prepare(self) -> None:
        if not self._is_prepared:
            prepare(self._path, self._form, self._upgrade)
            self._is_prepared = True

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run the work as one transaction in the writer's thread."""

        def transact(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
            return result

        return await self.maintain(transact)

    async def maintain(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run the work in the writer's thread, outside of any transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._use_writer, work)

    def _use_writer(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._writes is None:
                self._prepare()
                self._writes = open_to_write(self._path)
            return work(self._writes)
        except (*SQLITE_ERRORS, InputError, OSError) as error:
            self._discard_connection()
            log.error("store cannot be written", store=self._form.name, error=repr(error))
            raise self._form.unavailable(f"the {self._form.name} cannot be written: {error}") from error
        except BaseException:  # must not leave a transaction open
            self._discard_connection()
            raise

    def _discard_connection(self) -> None:
        """Close the writer's connection, which rolls back; the next write opens a new one."""
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """The event loop's connection, for a lookup that costs less than handing it to a thread.

        While the file cannot be written it is one that is closed after each read: an open one that may only read would
        keep a writer of this process from the file.
        """
        try:
            if not self._is_prepared:
                with closing(self._open_to_read(busy_ms=0)) as connection:
                    yield connection
                return
            if self._reads is None:  # the loop must not wait for a lock
                self._reads = self._open_to_read(busy_ms=0)
            yield self._reads
        except SQLITE_ERRORS as error:
            raise self._form.unavailable(f"the {self._form.name} cannot be read: {error}") from error

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query that may take long, on a connection and in a thread of its own."""

        def run() -> T:
            with closing(self._open_to_read(busy_ms=BUSY_MS)) as connection:
                return query(connection)

        try:
            return await asyncio.to_thread(run)
        except SQLITE_ERRORS as error:
            raise self._form.unavailable(f"the {self._form.name} cannot be read: {error}") from error

    def _open_to_read(self, *, busy_ms: int) -> sqlite3.Connection:
        return open_to_read(self._path, self._form, self._upgrade, busy_ms=busy_ms)

    def close(self) -> None:
        self._thread.shutdown()
        if self._reads is not None:
            self._reads.close()
        self._discard_connection()


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from one thread at a time; sqlite3.Error where it cannot be opened."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.text_factory = stored_text
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # overwrites what is removed
    return connection


def open_to_read(path: Path, form: SqliteFormat, upgrade: Upgrade, *, busy_ms: int) -> sqlite3.Connection:
    """A connection that sees what is committed; an empty database where nothing could be written yet."""
    if not is_unwritten(path):
        connection = connect_to_read(path, busy_ms=busy_ms)
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            connection.text_factory = stored_text
            return connection
        connection.close()  # the disk had room for the file, but not for its tables
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(form.script)
    upgrade(connection)
    return connection


def prepare(path: Path, form: SqliteFormat, upgrade: Upgrade) -> None:
    """Create the file if it is missing, and check that it can be written.

    InputError where the path or the file is wrong; `form.unavailable` where the disk refuses, which may pass.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with closing(open_to_write(path)) as connection:
            _prepare(connection, path, form, upgrade)
        sync(path.parent)
    except (*SQLITE_ERRORS, OSError) as error:
        if is_wrong(error, path):
            raise InputError(f"{form.name} {path}: cannot be used: {error}; expected a writable file") from None
        raise form.unavailable(f"the {form.name} cannot be written: {error}") from error


def _prepare(connection: sqlite3.Connection, path: Path, form: SqliteFormat, upgrade: Upgrade) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")  # of two processes that start together only one creates the tables
    found = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if found == (0, 0) and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        execute_all(connection, form.script)
    elif found[0] != form.application_id or found[1] not in (form.version, *form.upgradable):
        raise InputError(
            f"{form.name} {path}: found application id {found[0]:#x} and schema {found[1]}, "
            f"expected {form.application_id:#x} and {' to '.join(map(str, (*form.upgradable[:1], form.version)))}"
        )
    upgrade(connection)
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def execute_all(connection: sqlite3.Connection, script: str) -> None:
    """Execute a script's statements one by one, since executescript would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
