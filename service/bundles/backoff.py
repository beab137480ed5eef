"""Exponential backoff for bundles that failed to swap in. It starts at 5 s, as each retry reads a whole bundle."""

from collections.abc import Callable

FIRST_S = 5.0
MAX_S = 600.0


class Backoff:
    """The failures by name, and when each may be retried."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[float, float]] = {}  # when the retry is due, and the wait until then

    def failed(self, name: str) -> None:
        """Record a failure now; the wait is twice the last one."""
        _, waited = self._failures.get(name, (0.0, 0.0))
        wait = min(max(FIRST_S, 2 * waited), MAX_S)
        self._failures[name] = (self._clock() + wait, wait)

    def due(self, name: str) -> bool:
        """Whether a retry is due; true where there was no failure."""
        due_at, _ = self._failures.get(name, (0.0, 0.0))
        return self._clock() >= due_at

    def clear(self) -> None:
        """Forget all failures, so that every retry is due at once."""
        self._failures.clear()
