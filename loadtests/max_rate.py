"""A search for the highest rate within a limit. It measures nothing itself: the measurement is a function argument."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import median

CLEARLY_WITHIN, CLEARLY_OVER = 0.5, 10.0  # between these ratios one measurement is not enough
REPEATS = 3  # measurements in that range, of which the median counts
LOWEST_RATE = 1.0  # per second; the search goes no lower

LimitRatio = Callable[[float], float]  # from a rate to what was measured there, divided by the limit


@dataclass(frozen=True)
class RateBracket:
    """A rate within the limit and a rate over it, as close together as the tolerance."""

    held: float | None  # none: even the lowest rate was over the limit
    broke: float | None  # none: even the highest rate was within it


def find_max_rate(limit_ratio: LimitRatio, *, first: float, tolerance: float, most: float) -> RateBracket:
    """Double or halve the first rate until one holds and one breaks, then bisect the ratio between the two."""
    low, high = _bracket(limit_ratio, first, most)
    while low and high and high / low > 1 + tolerance:
        middle = sqrt(low * high)
        low, high = (middle, high) if holds(limit_ratio, middle) else (low, middle)
    return RateBracket(low, high)


def holds(limit_ratio: LimitRatio, rate: float) -> bool:
    """Return whether this rate is within the limit; near the limit the measurement is repeated."""
    found = limit_ratio(rate)
    if CLEARLY_WITHIN < found < CLEARLY_OVER:
        found = median([found, *(limit_ratio(rate) for _ in range(REPEATS - 1))])
    return found <= 1


def _bracket(limit_ratio: LimitRatio, first: float, most: float) -> tuple[float | None, float | None]:
    rate = min(first, most)
    if holds(limit_ratio, rate):
        while rate < most:
            low, rate = rate, min(2 * rate, most)
            if not holds(limit_ratio, rate):
                return low, rate
        return rate, None
    while rate > LOWEST_RATE:
        high, rate = rate, max(rate / 2, LOWEST_RATE)
        if holds(limit_ratio, rate):
            return rate, high
    return None, rate
