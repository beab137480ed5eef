"""Tables that map outside ids to rows and back, stored as arrays so that they open by memory map."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.errors import InputError

Array = np.ndarray[Any, Any]

_AT_ONCE = 65_536  # ids encoded in one step: as Python's objects all of them would take far more memory


@dataclass(frozen=True, eq=False)
class PackedStrings:
    """n concatenated byte strings: string r is blob[offsets[r]:offsets[r + 1]]."""

    blob: Array  # (total bytes,) uint8
    offsets: Array  # (n + 1,) int64

    @classmethod
    def pack(cls, strings: Sequence[bytes]) -> "PackedStrings":
        """Concatenate the strings."""
        lengths = np.fromiter((len(string) for string in strings), np.int64, len(strings))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        return cls(np.frombuffer(b"".join(strings), np.uint8), offsets)

    @classmethod
    def joined(cls, groups: Iterable["PackedStrings"]) -> "PackedStrings":
        """All strings of the groups, one group after another."""
        packed = list(groups)
        lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(group.offsets) for group in packed)])
        return cls(np.concatenate([np.empty(0, np.uint8), *(group.blob for group in packed)]), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> bytes:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.blob[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def starting_with(self, prefix: bytes, start: int, stop: int) -> Array:
        """Those of the rows start..stop whose string begins so, ascending int64."""
        starts = self.offsets[start : stop + 1]
        found = np.flatnonzero(np.diff(starts) >= len(prefix))
        for i, byte in enumerate(prefix):
            found = found[self.blob[starts[found] + i] == byte]
        return found + start

    def arrays(self) -> dict[str, Array]:
        """The arrays to store, by file stem."""
        return {"bytes": self.blob, "offsets": self.offsets}

    def is_of(self, other: "PackedStrings") -> bool:
        """Whether both read the very same arrays."""
        return self.blob is other.blob and self.offsets is other.offsets


@dataclass(frozen=True, eq=False)
class IdTable:
    """Ids by row and rows by id: a binary search over sorted hashes instead of a dictionary.

    A found hash is checked against the string, so an unknown id whose hash collides with a known one stays unknown.
    """

    strings: PackedStrings
    hashes: Array  # (n,) uint64, sorted
    hash_rows: Array  # (n,) int64, the row that each hash belongs to

    @classmethod
    def build(cls, ids: Sequence[str], what: str = "id") -> "IdTable":
        """Build the table of ids[row]; InputError on an empty, repeated or unencodable id."""
        starts = range(0, len(ids), _AT_ONCE)
        strings = PackedStrings.joined(
            PackedStrings.pack([_encode(ids[row], row, what) for row in range(start, min(start + _AT_ONCE, len(ids)))])
            for start in starts
        )
        hashes = np.fromiter((_hash(strings[row]) for row in range(len(strings))), np.uint64, len(strings))
        order = np.argsort(hashes, kind="stable").astype(np.int64)
        table = cls(strings, hashes[order], order)
        _refuse_duplicates(table, what)
        return table

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, row: int) -> str:
        return self.strings[row].decode()

    def row(self, outside_id: str) -> int | None:
        """The row of an id, or None where the id is unknown."""
        try:
            data = outside_id.encode()
        except UnicodeEncodeError:  # a lone surrogate, which no stored id has
            return None
        return self._find(data, np.uint64(_hash(data)))

    def rows(self, outside_ids: Sequence[str]) -> Array:
        """The rows of many ids, (len(outside_ids),) int64, with -1 for an unknown one."""
        found = (self.row(outside_id) for outside_id in outside_ids)
        return np.fromiter((-1 if row is None else row for row in found), np.int64, len(outside_ids))

    def shared_with(self, other: "IdTable") -> Array:
        """The ascending rows of ids that the other table has too, by their hashes of 64 bits alone."""
        shared = np.zeros(len(self), bool)
        for start in range(0, len(self) if len(other) else 0, _AT_ONCE):
            hashes = self.hashes[start : start + _AT_ONCE]
            places = np.minimum(other.hashes.searchsorted(hashes), len(other) - 1)
            shared[self.hash_rows[start : start + _AT_ONCE]] = other.hashes[places] == hashes
        return np.flatnonzero(shared)

    def arrays(self) -> dict[str, Array]:
        """The arrays to store, by file stem."""
        return {**self.strings.arrays(), "hashes": self.hashes, "rows": self.hash_rows}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "IdTable":
        """The inverse of `arrays`; copies nothing."""
        return cls(PackedStrings(arrays["bytes"], arrays["offsets"]), arrays["hashes"], arrays["rows"])

    def _find(self, data: bytes, key: np.uint64) -> int | None:
        position = int(self.hashes.searchsorted(key))
        while position < len(self.hashes) and self.hashes[position] == key:
            row = int(self.hash_rows[position])
            if self.strings[row] == data:
                return row
            position += 1
        return None


def _encode(text: str, row: int, what: str) -> bytes:
    if not isinstance(text, str) or not text:
        raise InputError(f"{what} of row {row} is {text!r}; expected a string that is not empty")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} of row {row} is {text[:40]!r}; expected text that UTF-8 can hold") from error


def _refuse_duplicates(table: IdTable, what: str) -> None:
    """Only ids of equal hashes are compared; those are neighbours in the table, the lower row first."""
    same = np.flatnonzero(table.hashes[1:] == table.hashes[:-1])
    rows = np.unique(table.hash_rows[np.union1d(same, same + 1)])  # (r,) of all ids with another's hash, ascending
    first: dict[bytes, int] = {}
    for row in rows.tolist():
        if first.setdefault(table.strings[row], row) != row:
            both = f"rows {first[table.strings[row]]} and {row}"
            raise InputError(f"{what} {table[row][:80]!r} is in {both}; expected it once")


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
