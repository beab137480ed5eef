"""What is on the rise: positive events by item and hour, each counting half as much after every half-life.

Counts are kept by hour, so any half-life can be asked for. Which item stands above which does not depend on what the
time is now: a clock that jumps changes the scores' common factor and never their order.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from cachetools import LRUCache

from service.events.event import POSITIVE, Event

HOUR_S = 3600.0
HALF_LIVES = 16  # whose sums are kept until an event comes

_Sums = tuple[list[str], list[float]]  # items and scores, most first


class Trending:
    """Counts of at most `most_hours` hours and `most_counts` pairs of item and hour; the oldest hours go first."""

    def __init__(self, weights: Mapping[str, float], *, most_hours: int, most_counts: int) -> None:
        self._weights = weights
        self._most_hours = most_hours
        self._most_counts = most_counts
        self._hours: dict[int, dict[str, float]] = {}
        self._n_counts = 0
        self._sums: LRUCache[tuple[float, int], _Sums] = LRUCache(HALF_LIVES)

    def __len__(self) -> int:
        return self._n_counts

    def add(self, events: Sequence[Event], now: float) -> None:
        """Count these events; one that claims to be from the future counts as of now."""
        for event in events:
            weight = self._weights[event.kind] if event.kind in POSITIVE else 0.0
            if weight:
                self._count(event.item_id, int(min(event.timestamp, now) // HOUR_S), weight)
        self._sums.clear()

    def _count(self, item_id: str, hour: int, weight: float) -> None:
        if hour not in self._hours and len(self._hours) == self._most_hours:
            hour = max(hour, min(self._hours))  # too late for an hour of its own
        counts = self._hours.setdefault(hour, {})
        self._n_counts += item_id not in counts
        counts[item_id] = counts.get(item_id, 0.0) + weight
        while len(self._hours) > self._most_hours or (self._n_counts > self._most_counts and len(self._hours) > 1):
            self._n_counts -= len(self._hours.pop(min(self._hours)))
        if self._n_counts > self._most_counts:  # all in one hour: the newcomer finds no room
            del counts[item_id]
            self._n_counts -= 1

    def ranked(self, half_life_s: float, now: float) -> Iterator[tuple[str, float]]:
        """Items and their decayed counts as of now, most first, ties by id."""
        if not self._hours:
            return
        # Hours that lie ahead, after a clock was set back, count as of now.
        hour = min(max(self._hours), int(now // HOUR_S))
        if (half_life_s, hour) not in self._sums:
            self._sums[half_life_s, hour] = self._summed(half_life_s, hour)
        items, scores = self._sums[half_life_s, hour]
        factor = 0.5 ** (max(0.0, now - hour * HOUR_S) / half_life_s)
        for score, group in groupby(zip(scores, items, strict=True), key=itemgetter(0)):
            for item_id in sorted(item_id for _, item_id in group):
                yield item_id, score * factor

    def _summed(self, half_life_s: float, until: int) -> _Sums:
        sums: defaultdict[str, float] = defaultdict(float)
        for hour in sorted(self._hours):
            factor = 0.5 ** (max(0, until - hour) * HOUR_S / half_life_s)
            for item_id, count in self._hours[hour].items():
                sums[item_id] += count * factor
        scores, items = np.fromiter(sums.values(), np.float64, len(sums)), list(sums)
        order = np.argsort(-scores)
        return [items[i] for i in order.tolist()], scores[order].tolist()
