"""How far a delta may grow, and what may be put into it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from index.errors import InputError
from index.ranking import Array

MAX_ID_BYTES = 4_096


class DeltaFull(InputError):  # noqa: N818 - named by the condition
    """There is no room for the change until the delta is compacted, or for new ids until the next bundle."""


class DeltaLimits(NamedTuple):
    """How far a delta may grow."""

    compact_from: int  # changes from which it is compacted in the background
    most_changes: int  # that are not compacted
    most_rows: int  # of the row space, in which the row of a removed item is not used again

    @classmethod
    def of(cls, n_items: int) -> "DeltaLimits":
        """The defaults: compaction from 2% of the items on, 20% at most; small catalogues may change more."""
        return cls(max(1_000, n_items // 50), max(10_000, n_items // 5), 2 * n_items + 100_000)

    def check(self, n_changes: int, n_rows: int, state: str) -> None:
        """DeltaFull where so many changes or rows are too many; `state` tells how compaction is doing."""
        if n_rows > self.most_rows:
            most = f"{self.most_rows:,}, those of removed items included"
            raise DeltaFull(f"the delta would need {n_rows:,} rows; the most is {most}: publish a new bundle")
        if n_changes > self.most_changes:
            raise DeltaFull(f"the delta would hold {n_changes:,} changes; the most is {self.most_changes:,}; {state}")


def checked_items(put: Mapping[str, Array], removed_ids: set[str], size: int) -> Array:
    """The vectors (p, size) of `put`; InputError on a wrong id or vector, or an id that is also to be removed."""
    vectors = np.empty((len(put), size), np.float32)
    for i, (item_id, vector) in enumerate(put.items()):
        _check_id(item_id)
        if item_id in removed_ids:
            raise InputError(f"{item_id!r} is to be put and to be removed; expected one of the two")
        if np.shape(vector) != (size,):
            raise InputError(f"vector of {item_id!r} has shape {np.shape(vector)}; expected ({size},)")
        vectors[i] = vector
        if not np.isfinite(vectors[i]).all():
            raise InputError(f"vector of {item_id!r} holds a value that is not finite; expected finite numbers")
    return vectors


def _check_id(item_id: str) -> None:
    try:
        n_bytes = len(item_id.encode())
    except (AttributeError, UnicodeEncodeError) as error:
        raise InputError(f"item id {item_id!r} is no text that UTF-8 can hold") from error
    if not 1 <= n_bytes <= MAX_ID_BYTES:
        raise InputError(f"item id {item_id[:40]!r} has {n_bytes:,} bytes; expected 1 to {MAX_ID_BYTES:,}")
