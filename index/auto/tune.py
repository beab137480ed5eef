"""Finds the cheapest search settings of an index whose recall is assured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import NamedTuple, TypeAlias

import numpy as np

from index.ranking import Array

Z = 1.645  # the lower end of a normal distribution's one-sided 95% interval, in standard deviations
Settings: TypeAlias = Mapping[str, int]
REFINED = 2  # settings tried between the last too small and the first large enough one: found to within a tenth
SLOWER, BELOW_FLOOR = "slower", "recall below the floor"


class Measured(NamedTuple):
    """Searches by one try of settings: mean recall over users, the recall that is assured, median ms of a search."""

    recall: float
    assured: float
    ms: float


def measured(recalls: Array, ms: Array) -> Measured:
    """Of each user's recall (m,) and milliseconds (m,); assured: the mean less Z of its standard errors over users."""
    mean = float(np.mean(recalls))
    error = float(np.std(recalls, ddof=1)) / sqrt(len(recalls)) if len(recalls) > 1 else mean
    return Measured(mean, mean - Z * error, float(np.median(ms)))


@dataclass(frozen=True)
class Tuned:
    """The settings found, or those measured last where none is good enough and `fault` says why."""

    settings: Settings
    measured: Measured
    fault: str = ""


def tune(tries: Sequence[Settings], measure: Callable[[Settings], Measured], floor: float, most_ms: float) -> Tuned:
    """The first of the tries whose assured recall reaches the floor; each searches further than the one before.

    Found by bisection of the tries, then between two of them. It has itself been measured, so it reaches the floor also
    where recall does not rise with every try. A kind whose first search already takes more than most_ms is given up.
    """
    found = _tuned(tries[0], measure, floor)
    if found.measured.ms > most_ms:
        return replace(found, fault=SLOWER)
    if found.fault and len(tries) > 1:
        found = _bisected(tries, measure, floor)
    return replace(found, fault=SLOWER) if not found.fault and found.measured.ms > most_ms else found


def _bisected(tries: Sequence[Settings], measure: Callable[[Settings], Measured], floor: float) -> Tuned:
    found = _tuned(tries[-1], measure, floor)
    low, high = 0, len(tries) - 1  # the lower is too small; the higher is large enough, unless none is
    while not found.fault and high - low > 1:
        middle = (low + high) // 2
        tried = _tuned(tries[middle], measure, floor)
        low, high, found = (middle, high, found) if tried.fault else (low, middle, tried)
    return found if found.fault else _refined(tries[low], found, measure, floor)


def _refined(too_small: Settings, found: Tuned, measure: Callable[[Settings], Measured], floor: float) -> Tuned:
    """Bisection by orders of magnitude."""
    for _ in range(REFINED):
        middle = {name: round(sqrt(too_small[name] * value)) for name, value in found.settings.items()}
        if middle in (too_small, found.settings):
            break
        tried = _tuned(middle, measure, floor)
        too_small, found = (middle, found) if tried.fault else (too_small, tried)
    return found


def _tuned(settings: Settings, measure: Callable[[Settings], Measured], floor: float) -> Tuned:
    found = measure(settings)
    return Tuned(settings, found, "" if found.assured >= floor else BELOW_FLOOR)
