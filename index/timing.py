"""Times calls one by one, as a service that serves one request after the other sees them."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np

from index.ranking import Array

T = TypeVar("T")
R = TypeVar("R")


class Times(NamedTuple):
    """Milliseconds of each call: until it returned, and of this thread on a processor."""

    wall: Array  # (m,)
    cpu: Array  # (m,)

    @property
    def p50_p99(self) -> tuple[float, float]:
        """The median and the 99th percentile until the call returned."""
        p50, p99 = np.percentile(self.wall, (50, 99))
        return float(p50), float(p99)


def time_each(call: Callable[[T], R], arguments: Iterable[T]) -> tuple[list[R], Times]:
    """The result and the times of each call."""
    results, wall, cpu = [], [], []
    for argument in arguments:
        start, cpu_start = time.perf_counter(), time.thread_time()
        results.append(call(argument))
        wall.append(time.perf_counter() - start)
        cpu.append(time.thread_time() - cpu_start)
    return results, Times(np.array(wall) * 1e3, np.array(cpu) * 1e3)
