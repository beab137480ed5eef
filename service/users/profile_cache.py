"""Caches user profiles in memory, and never serves one that an event may have changed."""

import math
from collections import OrderedDict
from sys import getsizeof
from typing import NamedTuple

from index.recommending.profile import Profile
from service.events.freshness import EventFreshness

OUTDATED = -math.inf
ENTRY_BYTES = 250  # of an entry without its profile: a short id, the tuple, the dictionary's slot
SHORT_ID_BYTES = 100  # of an id that ENTRY_BYTES covers


class _Entry(NamedTuple):
    profile: Profile
    at: float  # when its load began; OUTDATED once the user has a newer event
    stamp: int  # the user's when its load began
    n_bytes: int


class ProfileCache:
    """An LRU cache of profiles bounded in bytes, since a profile grows with its user's past and events.

    `unknown_profile`, which all unknown users share, counts as no bytes.
    """

    def __init__(self, max_bytes: float, freshness: EventFreshness, unknown_profile: Profile) -> None:
        self._max_bytes = max_bytes
        self._freshness = freshness
        self._stamps = freshness.stamps
        self._unknown_profile = unknown_profile
        self.n_bytes = 0
        self.clearings = 0  # what was loaded before the last one must not be put
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, user_id: str) -> Profile | None:
        """The user's profile if it is cached and fresh."""
        entry = self._entries.get(user_id)
        freshness = self._freshness
        if entry is None or entry.at == OUTDATED or not (freshness.follows_events or freshness.is_fresh(entry.at)):
            return None
        if entry.stamp != self.stamp(user_id):
            return None
        self._entries.move_to_end(user_id)
        return entry.profile

    def stamp(self, user_id: str) -> int:
        """What was read of a user is outdated once this has changed since before the read; 0 without other workers."""
        return 0 if self._stamps is None else self._stamps.of(user_id)

    def last_known(self, user_id: str) -> Profile | None:
        """The user's cached profile even if it is outdated, for when the log cannot be read."""
        entry = self._entries.get(user_id)
        return None if entry is None else entry.profile

    def put(self, user_id: str, profile: Profile, at: float, stamp: int = 0) -> None:
        """Cache a profile whose load began at `at` (OUTDATED: an event arrived meanwhile), and evict the oldest ones.

        `stamp` is the user's when the load began. An outdated profile never replaces a fresh one.
        """
        previous = self._entries.get(user_id)
        if at == OUTDATED and previous is not None and previous.at != OUTDATED:  # a later load finished first
            return
        long_id = max(0, getsizeof(user_id) - SHORT_ID_BYTES)
        n_bytes = ENTRY_BYTES + long_id + (0 if profile is self._unknown_profile else profile.n_bytes)
        self._entries[user_id] = _Entry(profile, at, stamp, n_bytes)
        self._entries.move_to_end(user_id)
        self.n_bytes += n_bytes - (0 if previous is None else previous.n_bytes)
        while self.n_bytes > self._max_bytes:
            _, evicted = self._entries.popitem(last=False)
            self.n_bytes -= evicted.n_bytes

    def invalidate(self, user_id: str) -> None:
        """Mark the user's profile as outdated; it remains as the last known one."""
        entry = self._entries.get(user_id)
        if entry is not None:
            self._entries[user_id] = entry._replace(at=OUTDATED)

    def clear(self) -> None:
        self.clearings += 1
        self._entries.clear()
        self.n_bytes = 0
