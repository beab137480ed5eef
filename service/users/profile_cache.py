"""Whole profiles kept in the process, never served once an event may have changed them."""

import math
from collections import OrderedDict
from typing import NamedTuple

from service.events.freshness import EventFreshness
from service.ranking.profile import Profile

OUTDATED = -math.inf
ENTRY_BYTES = 250  # of an entry beside its profile: the id, the tuple, the table


class _Entry(NamedTuple):
    profile: Profile
    at: float  # when reading it began; OUTDATED once the user did something since
    n_bytes: int


class ProfileCache:
    """The users asked for last, up to a number of bytes: a profile grows with its user's past and events."""

    def __init__(self, max_bytes: float, freshness: EventFreshness, unknown_profile: Profile) -> None:
        """`nobody` is the one profile that many users share."""
        self._max_bytes = max_bytes
        self._trust = freshness
        self._nobody = unknown_profile
        self.n_bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, user_id: str) -> Profile | None:
        """The user's profile if it is kept and may be believed."""
        entry = self._entries.get(user_id)
        if entry is None or entry.at == OUTDATED or not (self._trust.follows_events or self._trust.holds(entry.at)):
            return None
        self._entries.move_to_end(user_id)
        return entry.profile

    def last_known(self, user_id: str) -> Profile | None:
        """The user's profile even if it is out of date: for when nothing newer can be read."""
        entry = self._entries.get(user_id)
        return None if entry is None else entry.profile

    def put(self, user_id: str, profile: Profile, at: float) -> None:
        """Keep what was read from that time on, or, OUTDATED, what an event overtook: as a last resort.

        The user asked for least lately makes room.
        """
        held = self._entries.get(user_id)
        if at == OUTDATED and held is not None and held.at != OUTDATED:  # a later reading was quicker
            return
        n_bytes = ENTRY_BYTES + (0 if profile is self._nobody else profile.n_bytes)
        self._entries[user_id] = _Entry(profile, at, n_bytes)
        self._entries.move_to_end(user_id)
        self.n_bytes += n_bytes - (0 if held is None else held.n_bytes)
        while self.n_bytes > self._max_bytes:
            _, forgotten = self._entries.popitem(last=False)
            self.n_bytes -= forgotten.n_bytes

    def drop(self, user_id: str) -> None:
        """The user did something: what is kept is a last resort from now on."""
        entry = self._entries.get(user_id)
        if entry is not None:
            self._entries[user_id] = entry._replace(at=OUTDATED)

    def clear(self) -> None:
        """Forget everybody."""
        self._entries.clear()
        self.n_bytes = 0
