"""Whole answers, kept while nothing that they were made of has changed.

An answer is made of a bundle, the rules and hidden items of the moment, and one user's profile. The first two change
seldom and for everybody: whatever changes them clears the cache. A profile is never changed, only replaced, so the
same object means the same answer. Only the request id differs, and the user's own id where all of whom nothing is
known are told the same: both are put in front when an answer is sent.
"""

from typing import NamedTuple

from cachetools import LRUCache

from service.ranking.profile import Profile

OVERHEAD_BYTES = 500  # of an entry beside its body: keys, tuples, the table

Key = tuple[str, str, bytes]  # the route, the id in its path ("" where many share an answer), the query string


class CachedResponse(NamedTuple):
    """One answer without what is put in front of it, and what it was made for."""

    profile: Profile | None
    rendered: bytes  # its JSON after the opening brace
    source: str
    n_items: int = 0  # that it shows


class ResponseCache:
    """The answers asked for last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._kept: LRUCache[Key, CachedResponse] = LRUCache(max_bytes, getsizeof=_size)
        self.epoch = 0

    @property
    def n_bytes(self) -> int:
        """About how much memory the answers take."""
        return int(self._kept.currsize)

    def clear(self) -> None:
        """Forget all, and whatever is being made at this moment: something that every answer depends on has changed."""
        self.epoch += 1
        self._kept.clear()

    def get(self, key: Key, profile: Profile | None) -> CachedResponse | None:
        """What was answered, if it was answered from this very profile."""
        kept = self._kept.get(key)
        return kept if kept is not None and kept.profile is profile else None

    def put(self, key: Key, kept: CachedResponse, epoch: int) -> None:
        """Keep an answer, unless it was begun in another epoch than this one, or is larger than the cache."""
        if epoch == self.epoch and _size(kept) <= self._kept.maxsize:
            self._kept[key] = kept


def _size(kept: CachedResponse) -> int:
    return len(kept.rendered) + OVERHEAD_BYTES
