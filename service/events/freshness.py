"""Decides whether cached profiles are fresh: all are while every new event reaches this process."""

from collections.abc import Callable, Iterable
from typing import Protocol


class Stamps(Protocol):
    """A word for each user that other processes of this machine replace when the user has new events."""

    def of(self, user_id: str) -> int: ...

    def replace(self, user_ids: Iterable[str]) -> None: ...


class EventFreshness:
    """Whether new events reach this process promptly; where not, cached data expires after `stale_s`.

    `clock` gives the time to date cache entries with, in seconds; `stamps` are shared with other workers, if any.
    """

    def __init__(self, clock: Callable[[], float], stale_s: float, stamps: Stamps | None = None) -> None:
        self.follows_events = False  # set by the EventFollower
        self.clock = clock
        self._stale_s = stale_s
        self.stamps = stamps

    def is_fresh(self, at: float) -> bool:
        """Whether data read at that time may still be served."""
        return self.follows_events or self.clock() - at <= self._stale_s
