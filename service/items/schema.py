"""The tables of the SQLite item store."""

import sqlite3

from service.items.store import ItemsUnavailable
from service.storage.sqlite_database import SqliteFormat

APPLICATION_ID = 0x52454349  # "RECI": not an event log, which is "RECO"
VERSION = 1

# An item has one row, with its newest change; a deleted one has no body. Positions ascend and are never reused.
TABLES = """
CREATE TABLE items (
    item_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    body TEXT
) STRICT;
CREATE TABLE types (name TEXT PRIMARY KEY, type TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE state (position INTEGER NOT NULL, n_items INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (0, 0);
"""
FORMAT = SqliteFormat("item store", APPLICATION_ID, VERSION, TABLES, ItemsUnavailable)


def check_writable(connection: sqlite3.Connection) -> None:
    """sqlite3.Error where the file is read-only."""
    connection.execute("UPDATE state SET position = position")
