"""The SQLite log's file and its tables; what counts events for /quality is in counting.py."""

import sqlite3

from service.events.counting import COUNTING, COUNTING_TABLE
from service.events.event import PROFILE
from service.events.log import LogUnavailable
from service.storage.sqlite_database import APPLICATION_ID, SqliteFormat, execute_all

VERSION = 1


def _sql_list(kinds: frozenset[str]) -> str:
    return ", ".join(f"'{kind}'" for kind in sorted(kinds))


PROFILE_KINDS = f"kind IN ({_sql_list(PROFILE)})"  # queries must repeat a partial index's condition verbatim
COLUMNS = ("event_id", "user_id", "item_id", "kind", "value", "timestamp", "request_id", "bundle", "items")

# Positions have no gaps: only the oldest rows are removed, and never the newest one.
TABLES = f"""
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
"""
FORMAT = SqliteFormat("event log", APPLICATION_ID, VERSION, TABLES, LogUnavailable)
EVENTS = FORMAT.script


def upgrade(connection: sqlite3.Connection, *, counted_s: float) -> None:
    """Add what counts events. An event that is older than counted_s when it is accepted is not counted for /quality."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (COUNTING_TABLE,)).fetchone():
        execute_all(connection, COUNTING)  # a new file, or one of a release that counted without items
    connection.execute("UPDATE state SET counted_s = ?", (counted_s,))  # fails where the file is read-only
