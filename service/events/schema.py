"""The SQLite log's file and its tables; what counts events is in counting.py and sqlite_arms.py."""

import sqlite3

from service.events.counting import COUNTING, COUNTING_TABLE, REVENUE_AND_ROLES
from service.events.event import IMPRESSION
from service.events.log import LogUnavailable
from service.events.sqlite_arms import ARM_COUNTING
from service.storage.sqlite_database import APPLICATION_ID, SqliteFormat, execute_all

VERSION = 3


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
    "arm",
    "items",
)

# Positions have no gaps: only the oldest rows are removed, and never the newest one; a forgotten person's are emptied.
# This is version 1, which newer ones extend: a file of any version is brought to the latest by the same statements.
TABLES = """
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
"""
VERSION_2 = f"""
{REVENUE_AND_ROLES}
DROP INDEX events_by_user;
CREATE INDEX events_by_user ON events (user_id, position) WHERE {OF_PROFILES};
ALTER TABLE events ADD COLUMN quantity REAL;
ALTER TABLE events ADD COLUMN portion REAL;
"""
VERSION_3 = f"""
{ARM_COUNTING}
PRAGMA user_version = {VERSION};
"""
FORMAT = SqliteFormat("event log", APPLICATION_ID, VERSION, TABLES, LogUnavailable, upgradable=(1, 2))
EVENTS = FORMAT.script


def upgrade(connection: sqlite3.Connection, *, counted_s: float) -> None:
    """Add what counts events, and what later versions have beyond 1, to a new file or an old one.

    An event that is older than counted_s when it is accepted is not counted.
    """
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (COUNTING_TABLE,)).fetchone():
        execute_all(connection, COUNTING)  # a new file, or one of a release that counted without items
    for column, script in (("quantity", VERSION_2), ("arm", VERSION_3)):
        if not connection.execute(f"SELECT 1 FROM pragma_table_info('events') WHERE name = '{column}'").fetchone():
            execute_all(connection, script)
    connection.execute("UPDATE state SET counted_s = ?", (counted_s,))  # fails where the file is read-only
