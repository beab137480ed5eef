"""Encoded features on disk, by encoder and content, shared by the processes of a machine."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import numpy as np
import structlog
from numpy.typing import NDArray

FILE = "encoded.sqlite"
BUSY_MS = 5_000
EVICTED = 0.1  # share of the rows, the oldest ones, when the file is full
SCHEMA = """
CREATE TABLE IF NOT EXISTS features (
    id INTEGER PRIMARY KEY, encoder BLOB NOT NULL, content BLOB NOT NULL, row BLOB NOT NULL, UNIQUE (encoder, content)
);
CREATE TABLE IF NOT EXISTS pictures (id INTEGER PRIMARY KEY, url BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
"""

Row = NDArray[np.float32]

log = structlog.get_logger()


def content_key(content: bytes) -> bytes:
    """The digest of a content."""
    return hashlib.blake2b(content, digest_size=16).digest()


class FeatureCache:
    """One SQLite file. It may fail without harm: what cannot be read is encoded again, what cannot be written is not.

    The picture at a URL is taken to be the one that was fetched first.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()
        self._failed = False

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def features(self, encoder: bytes, keys: Iterable[bytes], width: int) -> dict[bytes, Row]:
        """The cached ones, by key."""
        return await asyncio.to_thread(self._features, encoder, list(keys), width)

    async def put(self, encoder: bytes, rows: Mapping[bytes, Row]) -> None:
        """Store features by key, and evict the oldest where the file has grown too large."""
        await asyncio.to_thread(self._put, encoder, rows)

    async def picture(self, url: str) -> bytes | None:
        """The key of the content that was fetched from the URL."""
        return await asyncio.to_thread(self._picture, url)

    async def put_picture(self, url: str, key: bytes) -> None:
        """Store which content the URL had."""
        await asyncio.to_thread(self._put_picture, url, key)

    def _features(self, encoder: bytes, keys: list[bytes], width: int) -> dict[bytes, Row]:
        found = {}
        with self._lock, suppress(sqlite3.Error, OSError):
            connection = self._open()
            for key in keys:
                row = connection.execute(
                    "SELECT row FROM features WHERE encoder = ? AND content = ?", (encoder, key)
                ).fetchone()
                if row is not None and len(row[0]) == 4 * width:
                    found[key] = np.frombuffer(row[0], "<f4")
        return found

    def _put(self, encoder: bytes, rows: Mapping[bytes, Row]) -> None:
        values = [(encoder, key, row.astype("<f4").tobytes()) for key, row in rows.items()]
        self._write("INSERT OR REPLACE INTO features (encoder, content, row) VALUES (?, ?, ?)", values)

    def _picture(self, url: str) -> bytes | None:
        with self._lock, suppress(sqlite3.Error, OSError):
            row = self._open().execute("SELECT content FROM pictures WHERE url = ?", (content_key(url.encode()),))
            found = row.fetchone()
            return None if found is None else bytes(found[0])
        return None

    def _put_picture(self, url: str, key: bytes) -> None:
        self._write("INSERT OR REPLACE INTO pictures (url, content) VALUES (?, ?)", [(content_key(url.encode()), key)])

    def _write(self, statement: str, values: Sequence[tuple[bytes, ...]]) -> None:
        try:
            with self._lock:
                connection = self._open()
                with connection:
                    connection.executemany(statement, values)
                    self._evict(connection)
            self._failed = False
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                log.warning("encoded features are not cached", path=str(self._path), error=str(error))
            self._failed = True

    def _evict(self, connection: sqlite3.Connection) -> None:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size > self._max_bytes:
            for table in ("features", "pictures"):
                connection.execute(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT "
                    f"(SELECT CAST(count(*) * {EVICTED} AS INTEGER) + 1 FROM {table}))"
                )

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = _connect(self._path)
            except sqlite3.OperationalError:  # locked, no space: the file itself may be sound
                raise
            except sqlite3.DatabaseError as error:
                log.warning("recreating the damaged cache of features", path=str(self._path), error=str(error))
                for file in (self._path, Path(f"{self._path}-wal"), Path(f"{self._path}-shm")):
                    file.unlink(missing_ok=True)
                self._connection = _connect(self._path)
        return self._connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_MS / 1_000)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last rows of a cache
        connection.executescript(SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
