"""Clicks on explored places beside those on the other places of the same answers, for /quality."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from service.events.quality import shown_name, wilson
from service.events.window import FOREVER

SHOWN, CLICKED, EXPLORED = 1, 2, 4  # flags of an item of an answer
MOST_COUNTS = 50_000  # pairs of time bucket and bundle; the oldest are evicted


@dataclass
class _Places:
    shown: int = 0
    clicked: int = 0

    def add(self, shown: int, clicked: int) -> None:
        self.shown += shown
        self.clicked += clicked

    def rates(self) -> dict[str, Any]:
        return {
            "items_shown": self.shown,
            "clicks": self.clicked,
            "click_through_rate": self.clicked / self.shown if self.shown else None,
            "click_through_interval": wilson(self.clicked, self.shown),
        }


@dataclass
class _Counts:
    """Explored places, and the other places of the same answers."""

    explored: _Places = field(default_factory=_Places)
    others: _Places = field(default_factory=_Places)

    def merge(self, counts: "_Counts") -> None:
        self.explored.add(counts.explored.shown, counts.explored.clicked)
        self.others.add(counts.others.shown, counts.others.clicked)

    def rates(self) -> dict[str, Any] | None:
        if not self.explored.shown:
            return None
        return {"explored": self.explored.rates(), "others": self.others.rates()}


class ExploredPlaces:
    """Counts by time bucket and bundle of the answers that have an explored place."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], _Counts] = {}

    def add(self, bucket: int, bundle: str, items: Iterable[int], sign: int) -> None:
        """Add an answer whose items have these flags; with a sign of -1 take it away, as before it changes."""
        flags = list(items)
        if not any(of_item & EXPLORED for of_item in flags):
            return
        counts = self._counts_of((bucket, bundle))
        for of_item in flags:
            places = counts.explored if of_item & EXPLORED else counts.others
            shown = of_item & SHOWN
            places.add(sign * shown, sign * bool(shown and of_item & CLICKED))

    def _counts_of(self, key: tuple[int, str]) -> _Counts:
        if key not in self._counts and len(self._counts) >= MOST_COUNTS:
            del self._counts[min(self._counts)]
        return self._counts.setdefault(key, _Counts())

    def added_to(self, quality: dict[str, Any], since: float, until: float = FOREVER) -> dict[str, Any]:
        """The body of /quality, with `exploration` where answers from `since` to before `until` had explored places."""
        overall, by_bundle = _Counts(), dict[str | None, _Counts]()
        for (bucket, label), counts in self._counts.items():
            if since <= bucket < until:
                overall.merge(counts)
                by_bundle.setdefault(shown_name(label), _Counts()).merge(counts)
        bundles = [_with_rates(entry, by_bundle.get(entry["bundle"])) for entry in quality["bundles"]]
        return quality | {"overall": _with_rates(quality["overall"], overall), "bundles": bundles}


def _with_rates(entry: dict[str, Any], counts: _Counts | None) -> dict[str, Any]:
    rates = None if counts is None else counts.rates()
    return entry if rates is None else entry | {"exploration": rates}
