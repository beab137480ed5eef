"""A set of ids in a SQLite file, such as that of hidden items: every change is on disk when it returns."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from index.errors import InputError
from service.sqlite_files import BUSY_MS, SQLITE_ERRORS, connect_to_read, is_unwritten, is_wrong


class SqliteHiddenItems:
    """A table of ids, those of hidden items by default, created where it is missing. Safe from any thread.

    `problem` says why the file cannot be read or written; None where it can.
    """

    def __init__(self, path: Path, table: str = "hidden") -> None:
        """InputError where the file is wrong; a disk that refuses is a problem that may pass."""
        self._path = path
        self._table = table
        self.problem: str | None = None
        try:
            with closing(self._prepared()):
                pass
        except (*SQLITE_ERRORS, OSError) as error:
            if is_wrong(error, path):
                raise InputError(f"control file {path}: cannot be used: {error}; expected a writable file") from None
            self.problem = f"{path}: cannot be written: {error}"

    def read(self) -> frozenset[str] | None:
        """The ids in the file; None, and a problem, where it cannot be read now.

        InputError where it never can, as hidden items would be shown.
        """
        if is_unwritten(self._path):
            return frozenset()
        try:
            with closing(connect_to_read(self._path)) as connection:
                if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (self._table,)).fetchone():
                    return frozenset()  # the disk had room for the file, but not for its table
                return frozenset(item_id for (item_id,) in connection.execute(f"SELECT item_id FROM {self._table}"))
        except SQLITE_ERRORS as error:
            if is_wrong(error, self._path):
                raise InputError(f"control file {self._path}: {self._table} cannot be read: {error}") from None
            self.problem = f"{self._path}: cannot be read, so what it hides is not known: {error}"
            return None

    def was_shared(self) -> bool:
        """Whether `set_shared` was called: the ids, even none, are those that replicas share."""
        with suppress(*SQLITE_ERRORS), closing(connect_to_read(self._path)) as connection:
            return bool(connection.execute("PRAGMA user_version").fetchone()[0])
        return False

    def set_shared(self) -> None:
        """Note that the ids were read from Redis once; on a disk that refuses, a later start does not know it."""
        with suppress(*SQLITE_ERRORS), closing(self._connect()) as connection:
            connection.execute("PRAGMA user_version = 1")

    def write(self, hidden: Iterable[str], shown: Iterable[str]) -> None:
        """Add the hidden ids, remove the shown ones, in one transaction; OSError where the file cannot be written."""
        try:
            with closing(self._connect() if self.problem is None else self._prepared()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    f"INSERT OR IGNORE INTO {self._table} VALUES (?)", [(item_id,) for item_id in hidden]
                )
                connection.executemany(
                    f"DELETE FROM {self._table} WHERE item_id = ?", [(item_id,) for item_id in shown]
                )
        except SQLITE_ERRORS as error:
            raise OSError(f"{self._path}: {error}") from error
        self.problem = None

    def _prepared(self) -> sqlite3.Connection:
        """A connection to the file, with its table."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")  # fails where the file is read-only
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (item_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID"
            )
            connection.execute("COMMIT")
        except SQLITE_ERRORS:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_MS / 1000, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection
