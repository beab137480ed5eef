"""When to retry what failed: after 5 s at first, then twice as long each time, since each try reads a whole bundle."""

from collections.abc import Callable

FIRST_S = 5.0
LONGEST_S = 600.0


class Backoff:
    """Failures by name, and whether a retry is due."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[float, float]] = {}  # when a retry is due, and the wait before it

    def failed(self, name: str) -> None:
        """Count a failure now: the next wait is twice the last."""
        _, waited = self._failures.get(name, (0.0, 0.0))
        wait = min(max(FIRST_S, 2 * waited), LONGEST_S)
        self._failures[name] = (self._clock() + wait, wait)

    def due(self, name: str) -> bool:
        """Whether it may be tried now; true where it has not failed."""
        until, _ = self._failures.get(name, (0.0, 0.0))
        return self._clock() >= until

    def clear(self) -> None:
        """Forget all failures: everything may be tried at once."""
        self._failures.clear()
