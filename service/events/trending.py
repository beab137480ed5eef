"""What is on the rise: positive events by item and hour, each counting half as much after every half-life.

Counts are kept by hour, so any half-life can be asked for. Which item stands above which does not depend on what the
time is now: a clock that jumps changes the scores' common factor and never their order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from cachetools import LRUCache

from service.events.event import POSITIVE, Event

Array = np.ndarray[Any, Any]

HOUR_S = 3600.0
HALF_LIVES = 16  # whose sums are kept until an event comes


@dataclass
class _Hour:
    """The counts of one hour by number of item, and the same as two arrays once they were needed."""

    counts: dict[int, float] = field(default_factory=dict)
    packed: tuple[Array, Array] | None = None

    def add(self, number: int, weight: float) -> None:
        self.counts[number] = self.counts.get(number, 0.0) + weight
        self.packed = None

    def arrays(self) -> tuple[Array, Array]:
        if self.packed is None:
            n = len(self.counts)
            self.packed = np.fromiter(self.counts, np.int64, n), np.fromiter(self.counts.values(), np.float64, n)
        return self.packed


class Trending:
    """Counts of at most `most_hours` hours and `most_counts` pairs of item and hour; the oldest hours go first."""

    def __init__(self, weights: Mapping[str, float], *, most_hours: int, most_counts: int) -> None:
        self._weights = weights
        self._most_hours = most_hours
        self._most_counts = most_counts
        self._hours: dict[int, _Hour] = {}
        self._numbers: dict[str, int] = {}  # of the items, in the order in which they came
        self._n_counts = 0
        self._sums: LRUCache[tuple[float, int], list[tuple[float, str]]] = LRUCache(HALF_LIVES)

    def __len__(self) -> int:
        return self._n_counts

    def add(self, events: Sequence[Event], now: float) -> None:
        """Count these events; one that claims to be from the future counts as of now."""
        for event in events:
            weight = self._weights[event.kind] if event.kind in POSITIVE else 0.0
            if weight:
                self._count(event.item_id, int(min(event.timestamp, now) // HOUR_S), weight)
        self._sums.clear()
        if len(self._numbers) > 2 * self._most_counts:
            self._number_anew()

    def _count(self, item_id: str, at: int, weight: float) -> None:
        if at not in self._hours:
            if len(self._hours) == self._most_hours:
                at = max(at, min(self._hours))  # too late for an hour of its own
            self._hours.setdefault(at, _Hour())
        hour, number = self._hours[at], self._numbers.setdefault(item_id, len(self._numbers))
        if number not in hour.counts:
            if not self._room(at):
                return
            self._n_counts += 1
        hour.add(number, weight)

    def _room(self, at: int) -> bool:
        """Make room for one more count in this hour, by letting the oldest hours go; False where there is none."""
        while len(self._hours) > self._most_hours or self._n_counts >= self._most_counts:
            oldest = min(self._hours)
            if oldest == at:
                return False
            self._n_counts -= len(self._hours.pop(oldest).counts)
        return True

    def _number_anew(self) -> None:
        """Forget the items that no hour counts any more."""
        names = list(self._numbers)
        self._numbers = {}
        for hour in self._hours.values():
            hour.counts = {
                self._numbers.setdefault(names[number], len(self._numbers)): count
                for number, count in hour.counts.items()
            }
            hour.packed = None

    def ranked(self, half_life_s: float, now: float) -> Iterator[tuple[str, float]]:
        """Items and their decayed counts as of now, most first, ties by id."""
        if not self._n_counts:
            return
        # Hours that lie ahead, after a clock was set back, count as of now.
        hour = min(max(self._hours), int(now // HOUR_S))
        if (half_life_s, hour) not in self._sums:
            self._sums[half_life_s, hour] = self._summed(half_life_s, hour)
        factor = 0.5 ** (max(0.0, now - hour * HOUR_S) / half_life_s)
        for score, tied in groupby(self._sums[half_life_s, hour], key=itemgetter(0)):
            for _, item_id in sorted(tied):
                yield item_id, score * factor

    def _summed(self, half_life_s: float, until: int) -> list[tuple[float, str]]:
        """Scores and items, most first."""
        hours = sorted(self._hours)
        packed = [self._hours[hour].arrays() for hour in hours]
        ages = np.maximum(0, until - np.array(hours)) * HOUR_S
        factors = np.repeat(0.5 ** (ages / half_life_s), [len(numbers) for numbers, _ in packed])
        numbers, counts = (np.concatenate(arrays) for arrays in zip(*packed, strict=True))
        scores = np.bincount(numbers, counts * factors)
        found = np.unique(numbers)
        found = found[np.argsort(-scores[found])]
        names = list(self._numbers)
        return [(score, names[number]) for score, number in zip(scores[found].tolist(), found.tolist(), strict=True)]
