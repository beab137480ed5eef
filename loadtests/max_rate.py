"""The highest rate that holds: a search that knows nothing of clocks and sockets."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import median

CLEARLY_HOLDS, CLEARLY_BREAKS = 0.5, 10.0  # between them, at the border, one measurement is not believed
REPEATS = 3  # there, of which the median counts
LEAST = 1.0  # a second; what breaks below that breaks at any rate

LimitRatio = Callable[[float], float]  # of a rate: what was measured over its limit; at most 1 is within it


@dataclass(frozen=True)
class RateBracket:
    """The border between rates that hold and rates that do not, as near as the tolerance asked."""

    held: float | None  # none: not even the least rate held
    broke: float | None  # none: even the highest rate held


def find_max_rate(limit_ratio: LimitRatio, *, first: float, tolerance: float, most: float) -> RateBracket:
    """Double or halve from the first rate until one holds and one breaks; then halve the ratio between the two."""
    low, high = _bracket(limit_ratio, first, most)
    while low and high and high / low > 1 + tolerance:
        middle = sqrt(low * high)
        low, high = (middle, high) if holds(limit_ratio, middle) else (low, middle)
    return RateBracket(low, high)


def holds(limit_ratio: LimitRatio, rate: float) -> bool:
    """Whether this rate is within the limit: asked again where one measurement leaves doubt."""
    found = limit_ratio(rate)
    if CLEARLY_HOLDS < found < CLEARLY_BREAKS:
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
    while rate > LEAST:
        high, rate = rate, max(rate / 2, LEAST)
        if holds(limit_ratio, rate):
            return rate, high
    return None, rate
