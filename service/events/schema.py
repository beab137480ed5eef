"""The SQLite log's file and its tables; what counts events for /quality is in counting.py."""

import sqlite3
from contextlib import closing
from pathlib import Path

from index.errors import InputError
from index.storage import sync
from service.events.counting import COUNTING, COUNTING_TABLE, REVENUE_AND_ROLES
from service.events.event import IMPRESSION
from service.events.log import LogUnavailable
from service.sqlite_files import BUSY_MS, SQLITE_ERRORS, connect_to_read, is_unwritten, is_wrong, stored_text

VERSION = 2
APPLICATION_ID = 0x5245434F  # "RECO": identifies the file among SQLite files


OF_PROFILES = f"kind <> '{IMPRESSION}'"  # queries must repeat a partial index's condition verbatim
COLUMNS = (
    "event_id",
    "user_id",
    "item_id",
    "kind",
    "value",
    "timestamp",
    "request_id",
    "bundle",
    "quantity",
    "portion",
    "items",
)

# Positions have no gaps: only the oldest rows are removed, and never the newest one; a forgotten person's are emptied.
# This is version 1, which newer ones extend: a file of any version is brought to the latest by the same statements.
EVENTS = f"""
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value REAL NOT NULL,
    timestamp REAL NOT NULL,
    request_id TEXT,
    bundle TEXT,
    accepted_at REAL NOT NULL
) STRICT;
CREATE INDEX events_by_user ON events (user_id, position)
    WHERE kind IN ('click', 'dislike', 'like', 'purchase', 'view');
CREATE TABLE state (exported INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (0);
CREATE TABLE counts (
    bucket INTEGER NOT NULL, bundle TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (bucket, bundle, name)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;
"""
VERSION_2 = f"""
{REVENUE_AND_ROLES}
DROP INDEX events_by_user;
CREATE INDEX events_by_user ON events (user_id, position) WHERE {OF_PROFILES};
ALTER TABLE events ADD COLUMN quantity REAL;
ALTER TABLE events ADD COLUMN portion REAL;
PRAGMA user_version = {VERSION};
"""


def open_connection(path: Path, *, read_only: bool = False, busy_ms: int = BUSY_MS) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from one thread at a time; sqlite3.Error where it cannot be opened."""
    if read_only and is_unwritten(path):
        return _empty()
    if read_only:
        connection = connect_to_read(path, busy_ms=busy_ms)
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            connection.close()
            return _empty()  # the disk had room for the file, but not for its tables
        connection.text_factory = stored_text
        return connection
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.text_factory = stored_text
    connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # overwrites what is removed
    return connection


def _empty() -> sqlite3.Connection:
    """What a log holds that could not be created yet."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(EVENTS + COUNTING + VERSION_2)
    return connection


def prepare(path: Path, *, counted_s: float) -> None:
    """Create the log's file if it is missing, and check that it can be written.

    InputError where the path or the file is wrong; LogUnavailable where the disk refuses, which may pass. An event that
    is older than counted_s when it is accepted is not counted for /quality.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with closing(open_connection(path)) as connection:
            _prepare(connection, path, counted_s)
        sync(path.parent)
    except (*SQLITE_ERRORS, OSError) as error:
        if is_wrong(error, path):
            raise InputError(f"event log {path}: cannot be used: {error}; expected a writable file") from None
        raise LogUnavailable(f"the event log cannot be written: {error}") from error


def _prepare(connection: sqlite3.Connection, path: Path, counted_s: float) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")  # of two processes that start together only one creates the tables
    kind, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    is_new = (kind, version) == (0, 0) and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if is_new:
        _execute_all(connection, EVENTS)
    elif kind != APPLICATION_ID or version not in (1, VERSION):
        raise InputError(
            f"event log {path}: found application id {kind:#x} and schema {version}, "
            f"expected {APPLICATION_ID:#x} and 1 to {VERSION}"
        )
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (COUNTING_TABLE,)).fetchone():
        _execute_all(connection, COUNTING)  # a new file, or one of a release that counted without items
    if is_new or version < VERSION:
        _execute_all(connection, VERSION_2)
    connection.execute("UPDATE state SET counted_s = ?", (counted_s,))  # fails where the file is read-only
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _execute_all(connection: sqlite3.Connection, script: str) -> None:
    """Execute a script's statements one by one, since executescript would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
