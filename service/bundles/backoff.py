"""When to try again what failed: soon at first, then ever more seldom, since each try reads a whole bundle."""

from collections.abc import Callable

FIRST_S = 5.0
LONGEST_S = 600.0


class Retries:
    """Failures by name, and whether it is time to try again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[float, float]] = {}  # when it may be tried again, and how long that was

    def failed(self, name: str) -> None:
        """It failed now: wait, twice as long as the last time."""
        _, waited = self._failed.get(name, (0.0, 0.0))
        wait = min(max(FIRST_S, 2 * waited), LONGEST_S)
        self._failed[name] = (self._clock() + wait, wait)

    def due(self, name: str) -> bool:
        """Whether it may be tried."""
        until, _ = self._failed.get(name, (0.0, 0.0))
        return self._clock() >= until

    def clear(self) -> None:
        """Something changed: all may be tried at once."""
        self._failed.clear()
