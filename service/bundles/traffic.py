"""Counts the answers of one bundle to valid requests, by kind of request and caller: what the canary compares.

Of an experiment's users it remembers the lists, too: what a coverage is of.
"""

from collections.abc import Iterator, Sequence
from math import log2
from typing import NamedTuple

MAX_TALLIES = 20_000  # kinds of requests times callers; further callers share SHARED_TALLIES names
SHARED_TALLIES = 64
BUCKETS_PER_DOUBLING = 4
SHORTEST_S = 1e-6
LISTS = 1_000  # of as many users, which are remembered
LIST_ITEMS = 100  # of each of them


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

    def since(self, before: "Tally") -> "Tally":
        """The answers that are not in an earlier copy of this tally."""
        later, buckets = Tally(), self.buckets.copy()
        later.buckets = {bucket: more for bucket, n in buckets.items() if (more := n - before.buckets.get(bucket, 0))}
        later.answers = sum(later.buckets.values())
        later.faults = min(self.faults - before.faults, later.answers)  # one may be counted at this moment
        return later

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


NO_ANSWERS = Tally()


class Traffic:
    """The tallies of one bundle. Recording costs a request two microseconds."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._lists: dict[int, Sequence[int]] = {}  # by hash of the user id, the latest last

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

    def since(self, before: "Traffic") -> "Traffic":
        """The answers that are not in an earlier copy, without lists; a copy is what came since nothing.

        It may run in a thread while answers are recorded: with many callers it takes long.
        """
        later = Traffic()
        for key, tally in list(self._tallies.items()):
            earlier = before._tallies.get(key, NO_ANSWERS)
            if tally.answers > earlier.answers:
                later._tallies[key] = tally.since(earlier)
        return later

    @property
    def answers(self) -> int:
        """All answers, faults included."""
        return sum(tally.answers for tally in self._tallies.values())

    def record_list(self, user_id: str, rows: Sequence[int]) -> None:
        """Remember the rows of a list that was made for a user, in place of the user's last one."""
        user = hash(user_id)
        self._lists.pop(user, None)
        self._lists[user] = rows[:LIST_ITEMS]
        if len(self._lists) > LISTS:
            del self._lists[next(iter(self._lists))]

    @property
    def lists(self) -> int:
        """The number of lists that are remembered."""
        return len(self._lists)

    def distinct_items(self, n: int) -> int:
        """The number of different items in the latest n lists, n at least 1."""
        return len(set().union(*list(self._lists.values())[-n:]))
