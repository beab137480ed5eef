"""Finds words in the items' titles, upper and lower case alike: one block of bytes, which is scanned."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SCANNED = 1_000_000  # bytes between two pauses
MOST_CHANGED = 20_000  # titles beside the block, before it is made again
_END = 0  # between two titles; a title has none


@dataclass(frozen=True, eq=False)
class TitleColumn:
    """Titles by row; those that changed are beside the block."""

    block: Array  # (bytes,) uint8: each title folded, in UTF-8, and _END
    offsets: Array  # (n + 1,) int64 of each title's first byte
    changed: Mapping[int, bytes] = field(default_factory=dict)

    @classmethod
    def pack(cls, titles: Sequence[str]) -> "TitleColumn":
        """The column of these titles by row."""
        return cls._packed([folded(title) for title in titles])

    @classmethod
    def _packed(cls, encoded: Sequence[bytes]) -> "TitleColumn":
        ends = np.cumsum(np.fromiter((len(title) + 1 for title in encoded), np.int64, len(encoded)))
        block = np.frombuffer(b"".join(title + b"\0" for title in encoded), np.uint8)
        return cls(block, np.concatenate([np.zeros(1, np.int64), ends]))

    def __len__(self) -> int:
        return max(len(self.offsets) - 1, 1 + max(self.changed, default=-1))

    def containing(self, part: str) -> Generator[None, None, Array]:
        """A mask of the titles that contain the part; may be paused at each yield."""
        sought = folded(part)
        if not sought:
            return self.exists()
        mask = np.zeros(len(self), np.bool_)
        for start in range(0, len(self.block), SCANNED):  # two parts overlap, so that a title across them is found
            places = start + _found(self.block[start : start + SCANNED + len(sought) - 1], sought)
            mask[np.searchsorted(self.offsets, places, side="right") - 1] = True
            yield
        return self._with_changed(mask, [row for row, title in self.changed.items() if sought in title])

    def equal(self, text: str) -> Array:
        """A mask of the titles that are this text."""
        sought, mask = folded(text), np.zeros(len(self), np.bool_)
        rows = np.flatnonzero(np.diff(self.offsets) == len(sought) + 1)
        starts = self.offsets[rows]
        for i, byte in enumerate(sought):
            hit = self.block[starts + i] == byte
            rows, starts = rows[hit], starts[hit]
        mask[rows] = bool(sought)
        return self._with_changed(mask, [row for row, title in self.changed.items() if sought and sought == title])

    def exists(self) -> Array:
        """A mask of the rows that have a title."""
        mask = np.zeros(len(self), np.bool_)
        mask[: len(self.offsets) - 1] = np.diff(self.offsets) > 1
        return self._with_changed(mask, [row for row, title in self.changed.items() if title])

    def _with_changed(self, mask: Array, rows: Sequence[int]) -> Array:
        """The mask with changed titles only where they are among the rows."""
        mask[list(self.changed)] = False
        mask[list(rows)] = True
        return mask

    def replaced(self, changes: Mapping[int, str]) -> "TitleColumn":
        """The column with other titles in some rows."""
        new = {row: title for row, given in changes.items() if (title := folded(given)) != self._title(row)}
        if not new:
            return self
        changed = {**self.changed, **new}
        if len(changed) <= MOST_CHANGED:
            return replace(self, changed=changed)
        longer = replace(self, changed=changed)
        return self._packed([longer._title(row) for row in range(len(longer))])

    def _title(self, row: int) -> bytes:
        if row in self.changed or row >= len(self.offsets) - 1:
            return self.changed.get(row, b"")
        return self.block[self.offsets[row] : self.offsets[row + 1] - 1].tobytes()


def folded(title: str) -> bytes:
    """A title as it is compared: without a difference of upper and lower case, and without the byte between titles."""
    return title.casefold().replace("\0", " ").encode("utf-8", "replace")


def _found(block: Array, sought: bytes) -> Array:
    """The places in the block at which the bytes begin."""
    found: Array = np.flatnonzero(block[: max(0, len(block) - len(sought) + 1)] == sought[0])
    for i, byte in enumerate(sought[1:], 1):
        found = found[block[found + i] == byte]
    return found
