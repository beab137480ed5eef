"""Times calls one by one, as a service that serves one request after the other sees them."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from index.ranking import Array

T = TypeVar("T")
R = TypeVar("R")


def time_each(call: Callable[[T], R], arguments: Iterable[T]) -> tuple[list[R], Array]:
    """The result of each call, and its milliseconds (m,)."""
    results, seconds = [], []
    for argument in arguments:
        start = time.perf_counter()
        results.append(call(argument))
        seconds.append(time.perf_counter() - start)
    return results, np.array(seconds) * 1e3


def p50_p99(milliseconds: Array) -> tuple[float, float]:
    """The median and the 99th percentile."""
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return float(p50), float(p99)
