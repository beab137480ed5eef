"""Caches the rows that recent filters match, as long as the columns that they were made from stay the same."""

from typing import Any, NamedTuple
from weakref import ref

from cachetools import LRUCache

from service.ranking.filters.evaluation import Selection

CACHED_BYTES = 64 << 20
OVERHEAD_BYTES = 1_000  # of an entry, beside its rows


class Key(NamedTuple):
    """A filter in its normal form, the minute where it depends on now, and the number of rows."""

    text: str
    minute: int
    n_rows: int


class _Entry(NamedTuple):
    columns: tuple["ref[Any] | None", ...]  # that the selection was made from; weak, as replaced ones are large
    selection: Selection


class SelectionCache:
    """The selections of the most recently used filters, up to a number of bytes."""

    def __init__(self, max_bytes: int = CACHED_BYTES) -> None:
        self._entries: LRUCache[Key, _Entry] = LRUCache(max_bytes, getsizeof=_size)

    def get(self, key: Key, columns: tuple[object, ...]) -> Selection | None:
        """The selection, if it was made from these same objects."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        made_from = (None if column is None else column() for column in entry.columns)
        return entry.selection if all(a is b for a, b in zip(made_from, columns, strict=True)) else None

    def put(self, key: Key, columns: tuple[object, ...], selection: Selection) -> None:
        """Cache a selection, unless it is larger than the cache."""
        entry = _Entry(tuple(None if column is None else ref(column) for column in columns), selection)
        if _size(entry) <= self._entries.maxsize:
            self._entries[key] = entry


def _size(entry: _Entry) -> int:
    return int(entry.selection.rows.nbytes) + OVERHEAD_BYTES
