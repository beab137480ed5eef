"""A circuit breaker: after repeated failures it blocks calls for a while, then lets one caller probe."""

import enum
import random
from collections.abc import Callable

JITTER = 0.2  # so that replicas do not all probe a recovering server at once


class BreakerState(enum.Enum):
    """Closed: calls pass. Open: calls are blocked. Half open: one caller probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Protects one dependency. After `allows()` returns true the caller must call `succeeded()` or `failed()`."""

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
        """Whether a call may pass. After the pause it is true for one caller, the probe."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN and self._clock() >= self._retry_at:
            self._set(BreakerState.HALF_OPEN)
            return True
        return False

    def succeeded(self) -> None:
        """The dependency responded: close the circuit."""
        self._failures = 0
        self._set(BreakerState.CLOSED)

    def failed(self) -> None:
        """The call failed or timed out. Enough failures in a row, or a failed probe, open the circuit."""
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._limit:
            self._retry_at = self._clock() + self._retry_s * (1 + JITTER * self._rng.uniform(-1, 1))
            self._set(BreakerState.OPEN)

    def _set(self, state: BreakerState) -> None:
        if state is not self.state:
            self.state = state
            self._on_change(state.value)
