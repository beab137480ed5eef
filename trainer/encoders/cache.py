"""Stores features on disk by the hash of the encoded content."""

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
    """One SQLite file an encoder; a `put` is atomic, also when the process is killed.

    A damaged file is recreated: its content can be encoded again.
    """

    def __init__(self, folder: Path, encoder: FeatureEncoder) -> None:
        path = folder / _folder_name(encoder) / "features.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._width = encoder.width
        self._connection = _open_or_recreate(path)

    def close(self) -> None:
        self._connection.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The features (width,) of the cached keys."""
        found = {}
        for key in keys:
            row = self._connection.execute("SELECT row FROM features WHERE key = ?", (key,)).fetchone()
            if row is not None and len(row[0]) == 4 * self._width:
                found[key] = np.frombuffer(row[0], dtype="<f4").astype(np.float32)
        return found

    def put(self, features: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Store these features durably."""
        rows = [(key, row.astype("<f4").tobytes()) for key, row in features.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)


def _folder_name(encoder: FeatureEncoder) -> str:
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", encoder.name).strip("-.")[-60:]
    return f"{name}-{encoder.width}-{re.sub(r'[^A-Za-z0-9.-]+', '-', encoder.version)}"


def _open_or_recreate(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.OperationalError:  # locked, no space: the file itself may be sound
        raise
    except sqlite3.DatabaseError as error:
        log.warning("recreating the damaged feature cache %s: %s", path, error)
        path.unlink()
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID"
        )
        (outcome,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if outcome != "ok":
            raise sqlite3.DatabaseError(outcome)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
