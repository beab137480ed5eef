"""Ranks trending items by their positive events, which lose half of their weight every half-life.

Events are counted by item and hour, so that a request may choose any half-life. The order of items does not depend on
the current time: a clock that jumps changes only the scores' common factor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache

from service.events.event import Event
from service.events.kinds import EventKinds

Array = np.ndarray[Any, Any]

HOUR_S = 3600.0
HALF_LIVES = 16  # half-lives whose rankings are cached until the next event


@dataclass
class _Hour:
    """The counts of one hour by item number, cached as two arrays."""

    counts: dict[int, float] = field(default_factory=dict)
    cached: tuple[Array, Array] | None = None

    def add(self, number: int, weight: float) -> None:
        self.counts[number] = self.counts.get(number, 0.0) + weight
        self.cached = None

    def arrays(self) -> tuple[Array, Array]:
        if self.cached is None:
            n = len(self.counts)
            self.cached = np.fromiter(self.counts, np.int64, n), np.fromiter(self.counts.values(), np.float64, n)
        return self.cached


class _Ranked(NamedTuple):
    """Decayed counts at the start of an hour, highest first, and whose they are."""

    scores: list[float]
    numbers: list[int]  # of the items
    item_ids: list[str]  # by number


class Trending:
    """Counts events in at most `most_hours` hours and `most_counts` pairs of item and hour; evicts the oldest hours."""

    def __init__(self, kinds: EventKinds, *, most_hours: int, most_counts: int) -> None:
        self._kinds = kinds
        self._most_hours = most_hours
        self._most_counts = most_counts
        self._hours: dict[int, _Hour] = {}
        self._numbers: dict[str, int] = {}  # by item id, in order of the first event
        self._n_counts = 0
        self._scores: LRUCache[tuple[float, int], _Ranked] = LRUCache(HALF_LIVES)

    def __len__(self) -> int:
        return self._n_counts

    def add(self, events: Sequence[Event], now: float) -> None:
        """Count the events; one with a timestamp in the future counts as of now."""
        for event in events:
            weight = self._kinds.strength(event) if event.kind in self._kinds.positive else 0.0
            if weight:
                self._count(event.item_id, int(min(event.timestamp, now) // HOUR_S), weight)
        self._scores.clear()
        if len(self._numbers) > 2 * self._most_counts:
            self._renumber()

    def _count(self, item_id: str, hour_start: int, weight: float) -> None:
        if hour_start not in self._hours:
            if len(self._hours) == self._most_hours:
                hour_start = max(hour_start, min(self._hours))  # an older event counts in the oldest hour
            self._hours.setdefault(hour_start, _Hour())
        hour, number = self._hours[hour_start], self._numbers.setdefault(item_id, len(self._numbers))
        if number not in hour.counts:
            if not self._make_room(hour_start):
                return
            self._n_counts += 1
        hour.add(number, weight)

    def _make_room(self, hour_start: int) -> bool:
        """Evict the oldest hours until this hour may have one more count; False where it is the oldest itself."""
        while len(self._hours) > self._most_hours or self._n_counts >= self._most_counts:
            oldest = min(self._hours)
            if oldest == hour_start:
                return False
            self._n_counts -= len(self._hours.pop(oldest).counts)
        return True

    def _renumber(self) -> None:
        """Remove the items without a count and number the others from 0."""
        item_ids = list(self._numbers)
        self._numbers = {}
        for hour in self._hours.values():
            hour.counts = {
                self._numbers.setdefault(item_ids[number], len(self._numbers)): count
                for number, count in hour.counts.items()
            }
            hour.cached = None

    def ranked(self, half_life_s: float, now: float) -> Iterator[tuple[str, float]]:
        """Yield item ids and their decayed counts as of now, highest first, ties by id."""
        if not self._n_counts:
            return
        # Hours in the future, after a clock was set back, count as of now.
        hour = min(max(self._hours), int(now // HOUR_S))
        if (half_life_s, hour) not in self._scores:
            self._scores[half_life_s, hour] = self._scores_at(half_life_s, hour)
        factor = 0.5 ** (max(0.0, now - hour * HOUR_S) / half_life_s)
        ranked = self._scores[half_life_s, hour]
        for score, tied in groupby(zip(ranked.scores, ranked.numbers, strict=True), key=itemgetter(0)):
            item_ids = [ranked.item_ids[number] for _, number in tied]
            heapify(item_ids)  # few of them are needed, and sorting all of a long tie would take far longer
            while item_ids:
                yield heappop(item_ids), score * factor

    def _scores_at(self, half_life_s: float, last_hour: int) -> "_Ranked":
        """The decayed counts at the start of an hour."""
        hours = sorted(self._hours)
        by_hour = [self._hours[hour].arrays() for hour in hours]
        ages = np.maximum(0, last_hour - np.array(hours)) * HOUR_S
        factors = np.repeat(0.5 ** (ages / half_life_s), [len(numbers) for numbers, _ in by_hour])
        numbers, counts = (np.concatenate(arrays) for arrays in zip(*by_hour, strict=True))
        scores = np.bincount(numbers, counts * factors)
        ranked = np.unique(numbers)
        ranked = ranked[np.argsort(-scores[ranked])]
        return _Ranked(scores[ranked].tolist(), ranked.tolist(), list(self._numbers))
