"""Computations in steps, between which a caller may do something else: the service answers other requests."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]  # a computation that may be paused at each of its yields


def done(steps: Steps[T]) -> T:
    """The result of all the steps, without pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
