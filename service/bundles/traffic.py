"""Counts the answers of one bundle to valid requests, by kind of request and caller: what the canary compares."""

from collections.abc import Iterator
from math import log2
from typing import NamedTuple

MAX_TALLIES = 20_000  # kinds of requests times callers; further callers share SHARED_TALLIES names
SHARED_TALLIES = 64
BUCKETS_PER_DOUBLING = 4
SHORTEST_S = 1e-6


class Kind(NamedTuple):
    """Requests that cost about the same: only those are compared."""

    path: str  # the route's
    shape: str


class Tally:
    """The answers to one caller's requests of one kind."""

    __slots__ = ("answers", "buckets", "faults")

    def __init__(self) -> None:
        self.answers = 0  # faults included
        self.faults = 0
        self.buckets: dict[int, int] = {}  # of durations: bucket b holds those of about 2 ** (b / BUCKETS_PER_DOUBLING)

    def slower_than(self, seconds: float) -> int:
        """The number of answers that certainly took longer."""
        return sum(n for bucket, n in self.buckets.items() if _shortest_of(bucket) >= seconds)

    @property
    def p99_s(self) -> float:
        """An upper bound of the p99 duration; 0 without answers."""
        above = 0
        for bucket, n in sorted(self.buckets.items(), reverse=True):
            above += n
            if 100 * above > self.answers:
                return _shortest_of(bucket + 1)
        return 0.0


def _shortest_of(bucket: int) -> float:
    return float(2.0 ** ((bucket - 0.5) / BUCKETS_PER_DOUBLING))


class Traffic:
    """The tallies of one bundle. Recording costs a request two microseconds."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, str], Tally] = {}

    def record(self, path: str, shape: str, caller: str, seconds: float, *, fault: bool = False) -> None:
        """Count one answer. A refusal is none, nor is a request that its caller gave up."""
        tally = self._tallies.get((path, shape, caller)) or self._new(path, shape, caller)
        tally.answers += 1
        if fault:
            tally.faults += 1
        bucket = round(BUCKETS_PER_DOUBLING * log2(max(seconds, SHORTEST_S)))
        tally.buckets[bucket] = tally.buckets.get(bucket, 0) + 1

    def _new(self, path: str, shape: str, caller: str) -> Tally:
        if len(self._tallies) >= MAX_TALLIES:
            caller = f"#{hash(caller) % SHARED_TALLIES}"
        return self._tallies.setdefault((path, shape, caller), Tally())

    def tallies(self) -> Iterator[tuple[Kind, str, Tally]]:
        """Kind, caller and tally, one after another."""
        for (path, shape, caller), tally in self._tallies.items():
            yield Kind(path, shape), caller, tally
