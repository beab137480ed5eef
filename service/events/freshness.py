"""Decides whether cached profiles are fresh: all are while every new event reaches this process."""

from collections.abc import Callable


class EventFreshness:
    """Whether new events reach this process promptly; where not, cached data expires after `stale_s`.

    `clock` gives the time to date cache entries with, in seconds.
    """

    def __init__(self, clock: Callable[[], float], stale_s: float) -> None:
        self.follows_events = False  # set by the EventFollower
        self.clock = clock
        self._stale_s = stale_s

    def is_fresh(self, at: float) -> bool:
        """Whether data read at that time may still be served."""
        return self.follows_events or self.clock() - at <= self._stale_s
