"""Caches whole responses in memory until anything that they were made from changes.

A response is made from a bundle, the rules, the hidden items and one user's profile. A change of the first three
affects all users and clears the cache. A profile is never changed, only replaced, so the same object means the same
response. The request id, and the user id where all unknown users share one response, are added when it is sent.

The key has the bundle of an experiment's arm, since several answer at a time; "" is the published one. The arm is
added when the response is sent: arms of one bundle share responses, and a user who moves makes none invalid.
"""

from sys import getsizeof
from typing import NamedTuple

from cachetools import LRUCache

from index.recommending.profile import Profile

OVERHEAD_BYTES = 500  # of an entry beside its body: a short key, tuples, the table
SHORT_KEY_BYTES = 200  # of the strings of a key that OVERHEAD_BYTES covers

# The route, the id in its path ("" where users share a response), the query string, the arm's bundle.
Key = tuple[str, str, bytes, str]


class CachedResponse(NamedTuple):
    """One response without the fields added when it is sent, and the profile that it was made from."""

    profile: Profile | None
    rendered: bytes  # its JSON after the opening brace
    source: str
    item_ids: tuple[str, ...] = ()  # of an answer whose impressions are logged
    explored_ids: tuple[str, ...] = ()  # those of them that are shown to learn about them


class _Entry(NamedTuple):
    response: CachedResponse
    n_bytes: int


class ResponseCache:
    """The most recently used responses, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._entries: LRUCache[Key, _Entry] = LRUCache(max_bytes, getsizeof=lambda entry: entry.n_bytes)
        self.epoch = 0  # number of times that the cache was cleared

    @property
    def n_bytes(self) -> int:
        """Estimated memory of the cached responses."""
        return int(self._entries.currsize)

    def clear(self) -> None:
        """Evict all responses, and let `put` drop those that are being computed now."""
        self.epoch += 1
        self._entries.clear()

    def get(self, key: Key, profile: Profile | None) -> CachedResponse | None:
        """The cached response if it was made from this same profile object."""
        entry = self._entries.get(key)
        return entry.response if entry is not None and entry.response.profile is profile else None

    def put(self, key: Key, response: CachedResponse, epoch: int) -> None:
        """Cache a response, unless the cache was cleared since `epoch` or the response is larger than the cache."""
        n_bytes = _size(key, response)
        if epoch == self.epoch and n_bytes <= self._entries.maxsize:
            self._entries[key] = _Entry(response, n_bytes)


def _size(key: Key, response: CachedResponse) -> int:
    """Roughly the bytes of an entry: callers choose the lengths of ids and queries."""
    long_key = max(0, sum(map(getsizeof, key[1:3])) - SHORT_KEY_BYTES)
    return len(response.rendered) + OVERHEAD_BYTES + long_key + sum(map(getsizeof, response.item_ids))
