"""Reads SQLite files where nothing can be written, and tells a wrong file from a disk that refuses for a while."""

import errno
import mmap
import sqlite3
from pathlib import Path

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)  # the latter where the message quotes a damaged file
BUSY_MS = 5_000  # another process may hold the lock for a moment
# Such a path can never hold a database; anything else (no room, quota, permission) may pass.
WRONG_PATH = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR")
NOT_WRITABLE = ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM", "SQLITE_READONLY")


def is_wrong(error: sqlite3.Error | UnicodeDecodeError | OSError, path: Path) -> bool:
    """Whether the file itself or its path is wrong, so that only a change of configuration helps."""
    if isinstance(error, OSError):
        return error.errno in WRONG_PATH
    code = _code(error)  # empty where Python finds text that is not UTF-8
    return not code or code.startswith(DAMAGED) or _is_no_file(path)


def connect_to_read(path: Path, *, busy_ms: int = BUSY_MS) -> sqlite3.Connection:
    """A connection for reading, usable from one thread at a time; sqlite3.Error where the file cannot be read.

    In WAL mode even a reader writes a small file. Where nothing can be written, and no earlier writer left a WAL, the
    database file is whole and is read alone: such a connection sees no later writes.
    """
    try:
        return _connect(path, "mode=ro", busy_ms)
    except sqlite3.OperationalError as error:
        if not _code(error).startswith(NOT_WRITABLE) or _may_have_wal(path):
            raise
        return _connect(path, "mode=ro&immutable=1", busy_ms)


def _may_have_wal(path: Path) -> bool:
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:
        return True


def truncate_wal(connection: sqlite3.Connection) -> None:
    """Write the WAL into the database file and empty it; OperationalError where a reader holds it for BUSY_MS."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("a reader holds the WAL, which has removed rows")


def holds(path: Path, text: str) -> bool:
    """Whether the file has the text anywhere, in its free space too."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text.encode()) >= 0


def stored_text(stored: bytes) -> str | bytes:
    """The text of a column; the bytes where they are not UTF-8, so that only this row cannot be read."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def is_unwritten(path: Path) -> bool:
    """Whether nothing was ever written to the database, so that it holds nothing."""
    try:
        return not any(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists())
    except OSError:
        return False


def _connect(path: Path, how: str, busy_ms: int) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
        connection.execute("SELECT count(*) FROM sqlite_schema")  # opens the file, and its WAL
    except SQLITE_ERRORS:
        connection.close()
        raise
    return connection


def _code(error: sqlite3.Error | UnicodeDecodeError) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _is_no_file(path: Path) -> bool:
    try:
        return path.exists() and not path.is_file()
    except OSError:
        return False
