"""Whether cached profiles may still be served: they may while every new event reaches this process."""

from collections.abc import Callable


class EventFreshness:
    """Whether this process hears of every new event within moments, so that what it keeps may be believed."""

    def __init__(self, clock: Callable[[], float], stale_s: float) -> None:
        self.follows_events = False  # until somebody finds out
        self._clock = clock
        self._stale_s = stale_s

    def now(self) -> float:
        """The clock by which entries are dated, in seconds."""
        return self._clock()

    def holds(self, at: float) -> bool:
        """Whether what was read at that time may still be believed."""
        return self.follows_events or self._clock() - at <= self._stale_s
