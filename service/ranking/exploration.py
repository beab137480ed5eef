"""Gives items that few have seen a fair chance: Thompson sampling of click rates mixes some of them into a list.

For every candidate a click rate is drawn from what is believed of it, Beta(1 + clicks, 1 / rate - 1 + impressions
without a click), where `rate` is that of all items: an item never shown is believed to be like any other, with the
weight of one click. The largest draws come first, and a draw below `rate` is not shown, so an item stops being explored
once its clicks say that it is worse than what it replaces (Thompson 1933; Chapelle and Li, NIPS 2011). An upper
confidence bound would show one and the same item to everybody until the counts are read again; draws differ by user.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, Protocol

import numpy as np

from index.bundle import Bundle
from service.ranking.diversity import Caps

Array = np.ndarray[Any, Any]


class Exposures(Protocol):
    """How often items were shown and clicked, as of one moment."""

    @property
    def rate(self) -> float:
        """Clicks divided by impressions over all items, above 0 and below 1."""
        ...

    def counts(self, item_ids: Sequence[str]) -> tuple[Array, Array]:
        """Impressions and clicks (n,) of these items."""
        ...


@dataclass(frozen=True, eq=False)
class Exploration:
    """How one list explores: the share of its places, what is known of items, and the seed of its draws."""

    bundle: Bundle
    exposures: Exposures
    share: float  # 0 to 1, of the list's places
    few: int  # items with fewer impressions are candidates
    pool: int  # of the best-scored candidates, from which items are drawn
    seed: int

    def rarely_had(self) -> Array:
        """The rows of the items that so few users had in training that few can have seen them, ascending.

        Every user of an item stands for as many impressions as one click takes, since most of them were never logged.
        """
        return np.flatnonzero(self.bundle.popularity_count < self.few * self.exposures.rate)

    def sample(self, rows: Array) -> Array:
        """At most `pool` of the rows, by chance: for a user of whom nothing is known to rank by."""
        if len(rows) <= self.pool:
            return rows
        chosen: Array = np.random.default_rng(self.seed).choice(rows, self.pool, replace=False)
        return chosen

    def drawn(self, rows: Array) -> Array:
        """The places in rows (n,) of the candidates to show, best draw first."""
        impressions, clicks = self.exposures.counts([self.bundle.item_ids[row] for row in rows.tolist()])
        few = np.flatnonzero(impressions < self.few)
        few = few[np.argsort(rows[few], kind="stable")]  # the same items get the same draws whatever their scores
        rng = np.random.default_rng(self.seed)
        return few[thompson_order(impressions[few], clicks[few], self.exposures.rate, rng)]


def thompson_order(impressions: Array, clicks: Array, rate: float, rng: np.random.Generator) -> Array:
    """The places (<= n,) of the items whose drawn click rate is at least `rate`, the largest draw first."""
    drawn = rng.beta(1 + clicks, 1 / rate - 1 + np.maximum(impressions - clicks, 0))
    order = np.argsort(-drawn, kind="stable")
    return order[drawn[order] >= rate]


def is_explored_place(place: int, share: float) -> bool:
    """Whether a place of the whole list, from 1, may be given to an explored item.

    It is the last one of each run of 1 / share places: of the first n places at most n * share are explored.
    """
    return floor(place * share) > floor((place - 1) * share)


def mix(
    ranked: Sequence[int],
    drawn: Sequence[int],
    share: float,
    depth: int,
    *,
    caps: Caps,
    category_of: Callable[[int], int],
) -> tuple[list[int], set[int]]:
    """The first `depth` of the list in which drawn rows take the explored places, and which rows these are.

    Ranked rows keep their order around them. A drawn row that is above its place already, or that is the next ranked
    row, is not explored; nor is one whose category is full.
    """
    mixed: list[int] = []
    shown: set[int] = set()
    explored: set[int] = set()
    by_rank, by_draw = deque(ranked), deque(drawn)

    def first_fitting(queue: deque[int]) -> int | None:
        while queue and (queue[0] in shown or category_of(queue[0]) in caps.full_categories()):
            queue.popleft()
        return queue[0] if queue else None

    for place in range(1, depth + 1):
        following = first_fitting(by_rank)
        fresh = first_fitting(by_draw) if is_explored_place(place, share) else None
        row = following if fresh is None else fresh
        if row is None:
            break
        if row != following:
            explored.add(row)
        mixed.append(row)
        shown.add(row)
        caps.add(category_of(row))
    return mixed, explored
