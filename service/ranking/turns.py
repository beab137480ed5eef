"""Slices long computations, so that the event loop answers other requests in between.

    turn = Turn(lane)
    await turn.begin()
    for profile in profiles:
        ...                  # a few milliseconds at most
        await turn.pause()
    turn.end()

A request that computes for less than a slice never waits. The others go on one at a time, a slice each, in the order in
which they came. However many there are, the loop has several iterations between two slices.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import TypeVar

from index.recommending.steps import Steps

T = TypeVar("T")

SLICE_S = 0.002
ITERATIONS = 8  # of the loop between two slices: a request needs several, for Redis, the search, the response


class Lane(asyncio.Lock):
    """What requests that compute for long hold, one at a time."""

    left_at = -math.inf  # when a request last left it


class Turn:
    """The computing of one request."""

    def __init__(self, lane: Lane, *, long: bool = False, clock: Callable[[], float] = time.perf_counter) -> None:
        self._lane = lane
        self._long = long  # whether it is known to compute for more than a slice
        self._clock = clock
        self._since = clock()
        self._holds = False
        self.waited_s = 0.0  # for others, in all

    async def begin(self) -> None:
        """Begin to compute; a long request waits for the lane. Call it after waiting for anything else."""
        self._since = self._clock()
        if self._long and not self._holds:
            if self._lane.locked() or self._since - self._lane.left_at < SLICE_S:
                await self._wait()
            else:
                await self._lane.acquire()
                self._holds = True

    async def pause(self) -> None:
        """Let others run, if this request has computed for a slice."""
        if self._clock() - self._since >= SLICE_S:
            self.end()
            await self._wait()

    async def _wait(self) -> None:
        started = self._clock()
        await self._lane.acquire()
        self._holds = True
        for _ in range(ITERATIONS):
            await asyncio.sleep(0)
        self._since = self._clock()
        self.waited_s += self._since - started

    async def run(self, steps: Steps[T]) -> T:
        """Do all the steps, and return their result."""
        while True:
            try:
                next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
            await self.pause()

    def end(self) -> None:
        """Leave the lane to others; the last call of every request that paused."""
        if self._holds:
            self._holds, self._lane.left_at = False, self._clock()
            self._lane.release()
