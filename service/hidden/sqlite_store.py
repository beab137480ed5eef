"""Hidden item ids in a SQLite file: every change is on disk when it returns."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from index.errors import InputError

BUSY_S = 5.0


class SqliteHiddenItems:
    """The table of hidden items in the control file, created where it is missing. Safe from any thread."""

    def __init__(self, path: Path) -> None:
        """InputError where the file cannot be used."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("CREATE TABLE IF NOT EXISTS hidden (item_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"control file {path}: cannot be used: {error}; expected a writable file") from None

    def read(self) -> frozenset[str]:
        with closing(self._connect()) as connection:
            return frozenset(item_id for (item_id,) in connection.execute("SELECT item_id FROM hidden"))

    def write(self, hidden: Iterable[str], shown: Iterable[str]) -> None:
        """Add the hidden ids, remove the shown ones, in one transaction; OSError where the file cannot be written."""
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR IGNORE INTO hidden VALUES (?)", [(item_id,) for item_id in hidden])
                connection.executemany("DELETE FROM hidden WHERE item_id = ?", [(item_id,) for item_id in shown])
        except sqlite3.Error as error:
            raise OSError(f"{self._path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection
