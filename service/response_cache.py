"""Caches whole responses in memory until anything that they were made from changes.

A response is made from a bundle, the rules, the hidden items and one user's profile. A change of the first three
affects all users and clears the cache. A profile is never changed, only replaced, so the same object means the same
response. The request id, and the user id where all unknown users share one response, are added when it is sent.
"""

from typing import NamedTuple

from cachetools import LRUCache

from service.ranking.profile import Profile

OVERHEAD_BYTES = 500  # of an entry beside its body: keys, tuples, the table
ID_BYTES = 60  # of an item id beside its characters

Key = tuple[str, str, bytes]  # the route, the id in its path ("" where users share a response), the query string


class CachedResponse(NamedTuple):
    """One response without the fields added when it is sent, and the profile that it was made from."""

    profile: Profile | None
    rendered: bytes  # its JSON after the opening brace
    source: str
    item_ids: tuple[str, ...] = ()  # of an answer whose impressions are logged


class ResponseCache:
    """The most recently used responses, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._responses: LRUCache[Key, CachedResponse] = LRUCache(max_bytes, getsizeof=_size)
        self.epoch = 0  # number of times that the cache was cleared

    @property
    def n_bytes(self) -> int:
        """Estimated memory of the cached responses."""
        return int(self._responses.currsize)

    def clear(self) -> None:
        """Evict all responses, and let `put` drop those that are being computed now."""
        self.epoch += 1
        self._responses.clear()

    def get(self, key: Key, profile: Profile | None) -> CachedResponse | None:
        """The cached response if it was made from this same profile object."""
        cached = self._responses.get(key)
        return cached if cached is not None and cached.profile is profile else None

    def put(self, key: Key, response: CachedResponse, epoch: int) -> None:
        """Cache a response, unless the cache was cleared since `epoch` or the response is larger than the cache."""
        if epoch == self.epoch and _size(response) <= self._responses.maxsize:
            self._responses[key] = response


def _size(response: CachedResponse) -> int:
    return len(response.rendered) + OVERHEAD_BYTES + sum(ID_BYTES + len(item_id) for item_id in response.item_ids)
