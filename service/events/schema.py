"""The SQLite log's tables and triggers; the triggers count events for /quality in the transaction that adds them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from index.errors import InputError
from index.storage import sync
from service.events.event import CLICK, IMPRESSION, KINDS, OTHER, PROFILE
from service.events.log import LogUnavailable
from service.events.quality import ANSWERS, BUCKET_S, CLICKED, HITS, SHOWN
from service.sqlite_files import BUSY_MS, connect_to_read, is_unwritten, is_wrong, stored_text

VERSION = 1
APPLICATION_ID = 0x5245434F  # "RECO": identifies the file among SQLite files


def _sql_list(kinds: frozenset[str]) -> str:
    return ", ".join(f"'{kind}'" for kind in sorted(kinds))


PROFILE_KINDS = f"kind IN ({_sql_list(PROFILE)})"  # queries must repeat a partial index's condition verbatim
COLUMNS = ("event_id", "user_id", "item_id", "kind", "value", "timestamp", "request_id", "bundle")


def _count(name: str, amount: str) -> str:
    return f"""INSERT INTO counts SELECT NEW.bucket, NEW.bundle, '{name}', {amount} WHERE {amount} <> 0
        ON CONFLICT (bucket, bundle, name) DO UPDATE SET n = n + excluded.n;"""


# Positions have no gaps: only the oldest rows are removed, and never the newest one.
SCHEMA = f"""
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
CREATE INDEX events_by_user ON events (user_id, position) WHERE {PROFILE_KINDS};
CREATE TABLE state (exported INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (0);

CREATE TABLE counts (
    bucket INTEGER NOT NULL, bundle TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (bucket, bundle, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE answers (
    request_id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, bundle TEXT NOT NULL,
    shown INTEGER NOT NULL, clicks INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_bucket ON answers (bucket);

CREATE TRIGGER event_counted AFTER INSERT ON events BEGIN
    INSERT INTO counts VALUES (
        CAST(NEW.timestamp / {BUCKET_S} AS INTEGER) * {BUCKET_S},
        ifnull(NEW.bundle, ''),
        CASE WHEN NEW.kind IN ({_sql_list(KINDS)}) THEN NEW.kind ELSE '{OTHER}' END,
        1
    ) ON CONFLICT (bucket, bundle, name) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER event_of_an_answer AFTER INSERT ON events
WHEN NEW.request_id IS NOT NULL AND NEW.kind IN ('{IMPRESSION}', '{CLICK}') BEGIN
    INSERT INTO answers VALUES (
        NEW.request_id,
        CAST(NEW.timestamp / {BUCKET_S} AS INTEGER) * {BUCKET_S},
        ifnull(NEW.bundle, ''),
        CASE NEW.kind WHEN '{IMPRESSION}' THEN CAST(NEW.value AS INTEGER) ELSE 0 END,
        CASE NEW.kind WHEN '{CLICK}' THEN 1 ELSE 0 END
    ) ON CONFLICT (request_id) DO UPDATE SET
        bucket = CASE WHEN shown = 0 AND excluded.shown > 0 THEN excluded.bucket ELSE bucket END,
        bundle = CASE WHEN shown = 0 AND excluded.shown > 0 THEN excluded.bundle ELSE bundle END,
        shown = shown + excluded.shown,
        clicks = clicks + excluded.clicks;
END;
CREATE TRIGGER answer_shown AFTER INSERT ON answers WHEN NEW.shown > 0 BEGIN
    {_count(ANSWERS, "1")}
    {_count(SHOWN, "NEW.shown")}
END;
CREATE TRIGGER answer_changed AFTER UPDATE ON answers WHEN NEW.shown > 0 BEGIN
    {_count(ANSWERS, "(OLD.shown = 0)")}
    {_count(SHOWN, "(NEW.shown - OLD.shown)")}
    {_count(CLICKED, "(NEW.clicks - (OLD.shown > 0) * OLD.clicks)")}
    {_count(HITS, "((NEW.clicks > 0) - (OLD.shown > 0 AND OLD.clicks > 0))")}
END;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


def open_connection(path: Path, *, read_only: bool = False, busy_ms: int | None = None) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from one thread at a time; sqlite3.Error where it cannot be opened."""
    busy_ms = BUSY_MS if busy_ms is None else busy_ms
    if read_only and is_unwritten(path):
        return _empty()
    if read_only:
        connection = connect_to_read(path, busy_ms=busy_ms)
        connection.text_factory = stored_text
        return connection
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.text_factory = stored_text
    connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _empty() -> sqlite3.Connection:
    """What a log holds that could not be created yet."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(SCHEMA)
    return connection


def prepare(path: Path) -> None:
    """Create the log's file if it is missing, and check that it can be written.

    InputError where the path or the file is wrong; LogUnavailable where the disk refuses, which may pass.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with closing(open_connection(path)) as connection:
            _prepare(connection, path)
        sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        if is_wrong(error, path):
            raise InputError(f"event log {path}: cannot be used: {error}; expected a writable file") from None
        raise LogUnavailable(f"the event log cannot be written: {error}") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")  # of two processes that start together only one creates the tables
    kind, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if (kind, version) == (0, 0) and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        for statement in _statements(SCHEMA):
            connection.execute(statement)
    elif (kind, version) != (APPLICATION_ID, VERSION):
        raise InputError(
            f"event log {path}: found application id {kind:#x} and schema {version}, "
            f"expected {APPLICATION_ID:#x} and {VERSION}"
        )
    connection.execute("UPDATE state SET exported = exported")  # fails where the file is read-only
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _statements(script: str) -> list[str]:
    """The statements of a script one by one, since executescript would end the transaction."""
    statements, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements
