"""A circuit breaker: what fails again and again is left alone for a while, then tried by one caller."""

import enum
import random
from collections.abc import Callable

JITTER = 0.2  # replicas that lost the same server do not come back to it in the same moment


class BreakerState(enum.Enum):
    """Closed: used. Open: left alone. Half open: one caller is trying it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Guards one dependency. Whoever `allows()` lets through must report `succeeded()` or `failed()`."""

    def __init__(
        self,
        *,
        failures: int,
        retry_s: float,
        clock: Callable[[], float],
        rng: random.Random,
        on_change: Callable[[str], None],
    ) -> None:
        self._limit = failures
        self._retry_s = retry_s
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._failures = 0
        self._retry_at = 0.0
        self.state = BreakerState.CLOSED
        on_change(self.state.value)

    def allows(self) -> bool:
        """Whether to try now. True once when the pause is over: that caller is the probe."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN and self._clock() >= self._retry_at:
            self._set(BreakerState.HALF_OPEN)
            return True
        return False

    def succeeded(self) -> None:
        """The dependency answered."""
        self._failures = 0
        self._set(BreakerState.CLOSED)

    def failed(self) -> None:
        """The dependency was late or broken; after enough of that in a row, or in a probe, it is left alone."""
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._limit:
            self._retry_at = self._clock() + self._retry_s * (1 + JITTER * self._rng.uniform(-1, 1))
            self._set(BreakerState.OPEN)

    def _set(self, state: BreakerState) -> None:
        if state is not self.state:
            self.state = state
            self._on_change(state.value)
