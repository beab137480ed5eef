"""Features on disk under the hash of their content."""

import logging
import re
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.encoders.base import FeatureEncoder

log = logging.getLogger(__name__)


class FeatureCache:
    """One SQLite file an encoder; a `put` is there whole or not at all, whenever the process dies.

    A file that SQLite finds damaged is begun anew: everything in it can be encoded again.
    """

    def __init__(self, folder: Path, encoder: FeatureEncoder) -> None:
        path = folder / _folder_name(encoder) / "features.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._width = encoder.width
        self._connection = _open_or_begin_anew(path)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The features (width,) of those keys that are here."""
        found = {}
        for key in keys:
            row = self._connection.execute("SELECT row FROM features WHERE key = ?", (key,)).fetchone()
            if row is not None and len(row[0]) == 4 * self._width:
                found[key] = np.frombuffer(row[0], dtype="<f4").astype(np.float32)
        return found

    def put(self, features: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep these features, durably once this returns."""
        rows = [(key, row.astype("<f4").tobytes()) for key, row in features.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)


def _folder_name(encoder: FeatureEncoder) -> str:
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", encoder.name).strip("-.")[-60:]
    return f"{name}-{encoder.width}-{re.sub(r'[^A-Za-z0-9.-]+', '-', encoder.version)}"


def _open_or_begin_anew(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.OperationalError:  # locked, no space: the file itself may well be sound
        raise
    except sqlite3.DatabaseError as error:
        log.warning("begin the feature cache %s anew: %s", path, error)
        path.unlink()
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID"
        )
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
