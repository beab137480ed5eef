"""Finds the cheapest search setting of an index whose recall is assured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import NamedTuple

import numpy as np

from index.ranking import Array

Z = 1.645  # the lower end of a normal distribution's one-sided 95% interval, in standard deviations
SLOWER, BELOW_FLOOR = "slower", "recall below the floor"


class Measured(NamedTuple):
    """Searches by one setting: mean recall over users, the recall that is assured, and the median ms of a search."""

    recall: float
    assured: float
    ms: float


def measured(recalls: Array, seconds: Array) -> Measured:
    """Of each user's recall (m,) and seconds (m,); assured: the mean less Z of its standard errors over users."""
    mean = float(np.mean(recalls))
    error = float(np.std(recalls, ddof=1)) / sqrt(len(recalls)) if len(recalls) > 1 else mean
    return Measured(mean, mean - Z * error, float(np.median(seconds)) * 1e3)


@dataclass(frozen=True)
class Tuned:
    """The setting found, or the one measured last where none is good enough and `fault` says why."""

    value: int
    measured: Measured
    fault: str = ""


def tune(values: Sequence[int], measure: Callable[[int], Measured], floor: float, most_ms: float) -> Tuned:
    """The least of the rising values whose assured recall reaches the floor, by bisection.

    It has itself been measured, so it reaches the floor also where recall does not rise with every value. A kind whose
    least value already takes more than most_ms is given up.
    """
    found = _tuned(values[0], measure, floor)
    if found.measured.ms > most_ms:
        return replace(found, fault=SLOWER)
    if found.fault and len(values) > 1:
        found = _bisected(values, measure, floor)
    return replace(found, fault=SLOWER) if not found.fault and found.measured.ms > most_ms else found


def _bisected(values: Sequence[int], measure: Callable[[int], Measured], floor: float) -> Tuned:
    found = _tuned(values[-1], measure, floor)
    low, high = 0, len(values) - 1  # the lower is too small; the higher is large enough, unless none is
    while not found.fault and high - low > 1:
        middle = (low + high) // 2
        tried = _tuned(values[middle], measure, floor)
        low, high, found = (middle, high, found) if tried.fault else (low, middle, tried)
    return found


def _tuned(value: int, measure: Callable[[int], Measured], floor: float) -> Tuned:
    found = measure(value)
    return Tuned(value, found, "" if found.assured >= floor else BELOW_FLOOR)
