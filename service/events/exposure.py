"""How often each item was shown and clicked, from the events of all replicas, and how explored places do.

An item of an answer (a request id) counts as shown once and as clicked at most once, as in quality.py. Counts lose half
of their weight every half-life, and a click weighs as much as the impression that it follows: there are never more
clicks than impressions. Events change what is read only once `refresh` is called, so that all pages of a list agree.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Any

import numpy as np

from service.events.event import AS_CLICKED, EXPLORED_ID, IMPRESSION, Event
from service.events.explored_places import CLICKED, EXPLORED, SHOWN, ExploredPlaces
from service.events.kinds import EventKinds
from service.events.window import bucket_of

Array = np.ndarray[Any, Any]
_Pair = list[float]  # decayed impressions and clicks

_NOTHING = (0.0, 0.0)
PRIOR_IMPRESSIONS, PRIOR_CLICKS = 20.0, 1.0  # the click rate of all items before there are any events
MOST_DOUBLINGS = 500.0  # of the weights of new events, before all counts are scaled down


@dataclass(slots=True)
class _Answer:
    shown_at: float | None = None  # None while only clicks are known
    bundle: str = ""
    items: dict[str, int] = field(default_factory=dict)  # flags by item id


class Exposure:
    """Counts in bounded memory: the items shown most, and clicks on answers among the latest `most_places` places.

    `label` gives the name under which events that name a bundle are counted.
    """

    def __init__(
        self,
        kinds: EventKinds,
        *,
        half_life_s: float,
        refresh_s: float,
        most_items: int,
        most_places: int,
        label: Callable[[str | None], str],
    ) -> None:
        self._kinds = kinds
        self._half_life_s = half_life_s
        self._refresh_s = refresh_s
        self._most_items = most_items
        self._most_places = most_places
        self._label = label
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._n_places = 0
        self.explored_places = ExploredPlaces()
        self._origin = 0.0  # the time whose events weigh 1 in the counts
        self._counts: dict[str, _Pair] = {}  # impressions and clicks by item, by weight at the origin
        self._pending: dict[str, _Pair] = {}  # those since the last refresh
        self._sum: _Pair = [0.0, 0.0]  # of all items
        self._as_of = 0.0
        self.version = 0  # number of refreshes that changed the counts

    def counts(self, item_ids: Sequence[str]) -> tuple[Array, Array]:
        """Decayed impressions and clicks (n,) of these items."""
        found = np.array([self._counts.get(item_id, _NOTHING) for item_id in item_ids]).reshape(-1, 2) * self._decay
        return found[:, 0], found[:, 1]

    @property
    def rate(self) -> float:
        """Clicks divided by impressions over all items; at most a half."""
        impressions, clicks = (self._decay * value for value in self._sum)
        return min(0.5, (clicks + PRIOR_CLICKS) / (impressions + PRIOR_IMPRESSIONS))

    @property
    def has_any(self) -> bool:
        """Whether there was any impression that names an item."""
        return bool(self._sum[0])

    @property
    def _decay(self) -> float:
        return float(0.5 ** (max(0.0, self._as_of - self._origin) / self._half_life_s))

    def refresh(self, now: float) -> None:
        """Take in the events since the last time, at most once every `refresh_s`."""
        if not self._pending or 0 <= now - self._as_of < self._refresh_s:
            return
        for item_id, (impressions, clicks) in self._pending.items():
            for pair in (self._counts.setdefault(item_id, [0.0, 0.0]), self._sum):
                pair[0] += impressions
                pair[1] += clicks
        self._pending.clear()
        self._as_of = now
        self.version += 1
        if len(self._counts) > self._most_items:
            self._evict_items()

    def _evict_items(self) -> None:
        """Forget the half of the items that were shown least: candidates of an exploration in any case."""
        by_impressions = sorted(self._counts.items(), key=lambda entry: -entry[1][0])
        self._counts = dict(by_impressions[: max(1, self._most_items // 2)])

    def add(self, events: Sequence[Event], now: float) -> None:
        """Count the impressions and clicks; one with a timestamp in the future counts as of now."""
        self.refresh(now)
        for event in events:
            if event.kind == IMPRESSION:
                flags = SHOWN | EXPLORED if event.event_id.startswith(EXPLORED_ID) else SHOWN
            elif self._kinds.role(event.kind) == AS_CLICKED:
                flags = CLICKED
            else:
                continue
            self._count(event, min(event.timestamp, now), flags)

    def _count(self, event: Event, timestamp: float, flags: int) -> None:
        item_ids = dict.fromkeys((event.item_id, *event.items) if event.item_id else event.items)
        if event.request_id is None:
            if flags & SHOWN:
                for item_id in item_ids:
                    self._weigh(item_id, timestamp, impressions=1, clicks=0)
            return
        answer = self._answers.get(event.request_id)
        if answer is None:
            answer = self._answers[event.request_id] = _Answer()
            self._n_places += 1
        self._count_places(answer, -1)
        if flags & SHOWN and answer.shown_at is None:
            answer.shown_at, answer.bundle = timestamp, self._label(event.bundle)
            for item_id, known in answer.items.items():  # clicks that arrived before
                self._change(item_id, answer.shown_at, 0, known)
        for item_id in map(intern, item_ids):  # one string for all answers that show the item
            before = answer.items.get(item_id, 0)
            self._n_places += item_id not in answer.items
            answer.items[item_id] = before | flags
            if answer.shown_at is not None:
                self._change(item_id, answer.shown_at, before, before | flags)
        self._count_places(answer, +1)
        self._evict_answers()

    def _change(self, item_id: str, shown_at: float, before: int, after: int) -> None:
        """Count what the change of an item's flags adds: an impression, and a click on an item that was shown."""
        both = SHOWN | CLICKED
        impressions = (after & SHOWN) - (before & SHOWN)
        clicks = int(after & both == both) - int(before & both == both)
        if impressions or clicks:
            self._weigh(item_id, shown_at, impressions=impressions, clicks=clicks)

    def _weigh(self, item_id: str, timestamp: float, *, impressions: int, clicks: int) -> None:
        doublings = (timestamp - self._origin) / self._half_life_s
        if doublings > MOST_DOUBLINGS:
            self._move_origin(timestamp)
            doublings = 0.0
        pair = self._pending.setdefault(item_id, [0.0, 0.0])
        pair[0] += impressions * 2.0**doublings
        pair[1] += clicks * 2.0**doublings

    def _move_origin(self, to: float) -> None:
        factor = float(0.5 ** min(2 * MOST_DOUBLINGS, (to - self._origin) / self._half_life_s))
        self._origin = to
        for pair in (*self._counts.values(), *self._pending.values(), self._sum):
            pair[:] = [value * factor for value in pair]

    def _count_places(self, answer: _Answer, sign: int) -> None:
        if answer.shown_at is not None:
            self.explored_places.add(bucket_of(answer.shown_at), answer.bundle, answer.items.values(), sign)

    def _evict_answers(self) -> None:
        while self._n_places > self._most_places and len(self._answers) > 1:
            _, evicted = self._answers.popitem(last=False)
            self._n_places -= 1 + len(evicted.items)
