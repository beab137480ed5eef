"""Finds the cheapest search settings of an index whose recall is assured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from index.ranking import Array

Z = 1.645  # the lower end of a normal distribution's one-sided 95% interval, in standard deviations
T = TypeVar("T")
SLOWER, BELOW_FLOOR = "slower", "recall below the floor"


class Measured(NamedTuple):
    """Searches by one try of settings: mean recall over users, the recall that is assured, median ms of a search."""

    recall: float
    assured: float
    ms: float


def measured(recalls: Array, seconds: Array) -> Measured:
    """Of each user's recall (m,) and seconds (m,); assured: the mean less Z of its standard errors over users."""
    mean = float(np.mean(recalls))
    error = float(np.std(recalls, ddof=1)) / sqrt(len(recalls)) if len(recalls) > 1 else mean
    return Measured(mean, mean - Z * error, float(np.median(seconds)) * 1e3)


@dataclass(frozen=True)
class Tuned(Generic[T]):
    """The settings found, or those measured last where none is good enough and `fault` says why."""

    settings: T
    measured: Measured
    fault: str = ""


def tune(tries: Sequence[T], measure: Callable[[T], Measured], floor: float, most_ms: float) -> Tuned[T]:
    """The first of the tries whose assured recall reaches the floor; each searches further than the one before.

    Found by bisection. It has itself been measured, so it reaches the floor also where recall does not rise with every
    try. A kind whose first search already takes more than most_ms is given up.
    """
    found = _tuned(tries[0], measure, floor)
    if found.measured.ms > most_ms:
        return replace(found, fault=SLOWER)
    if found.fault and len(tries) > 1:
        found = _bisected(tries, measure, floor)
    return replace(found, fault=SLOWER) if not found.fault and found.measured.ms > most_ms else found


def _bisected(tries: Sequence[T], measure: Callable[[T], Measured], floor: float) -> Tuned[T]:
    found = _tuned(tries[-1], measure, floor)
    low, high = 0, len(tries) - 1  # the lower is too small; the higher is large enough, unless none is
    while not found.fault and high - low > 1:
        middle = (low + high) // 2
        tried = _tuned(tries[middle], measure, floor)
        low, high, found = (middle, high, found) if tried.fault else (low, middle, tried)
    return found


def _tuned(settings: T, measure: Callable[[T], Measured], floor: float) -> Tuned[T]:
    found = measure(settings)
    return Tuned(settings, found, "" if found.assured >= floor else BELOW_FLOOR)
