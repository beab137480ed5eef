"""Reorders ranked candidates: diversity by MMR, a cap per category, and seeded jitter of near-equal scores.

All three work on a pool of the best candidates whose size does not depend on k, so that consecutive pages are pages of
one list; candidates behind the pool follow by score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

JITTER = 0.1  # how much a seed may add to a score, in standard deviations of the pool's scores
LEAST_COSINE = -1.0
END = -1  # no row


@dataclass(frozen=True)
class ListOrder:
    """How candidates are ordered; by default by score."""

    diversity: float = 0.0  # 0: by score alone; 1: by dissimilarity alone
    by: str = "fused"  # the space in which similarity is measured
    category_cap: int | None = None
    seed: int | None = None

    @property
    def plain(self) -> bool:
        """Whether candidates are ordered by score alone."""
        return not self.diversity and self.category_cap is None and self.seed is None


BY_SCORE = ListOrder()


@dataclass
class Caps:
    """Counts the items of each category in a list, up to `most`; items without a category (-1) are not counted."""

    most: int | None
    counts: dict[int, int] = field(default_factory=dict)

    def add(self, category: int) -> bool:
        """Count one item and return whether its category is now full."""
        if self.most is None or category < 0:
            return False
        self.counts[category] = self.counts.get(category, 0) + 1
        return self.counts[category] >= self.most

    def full_categories(self) -> list[int]:
        return [] if self.most is None else [category for category, n in self.counts.items() if n >= self.most]


def jittered(scores: Array, seed: int | None) -> Array:
    """The scores (p,) plus noise below JITTER that depends on the seed alone, so that only near equals swap places."""
    if seed is None or not len(scores):
        return scores
    noisy: Array = scores + JITTER * scores.std() * np.random.default_rng(seed).random(len(scores))
    return noisy


def arrange(
    relevance: Array, n: int, caps: Caps, categories: Array, *, diversity: float = 0.0, vectors: Array | None = None
) -> list[int]:
    """Positions of at most n of the p candidates, chosen one by one by the largest maximal marginal relevance

        (1 - diversity) · relevance - diversity · largest cosine with a chosen candidate

    with relevance (p,) scaled to 0..1, ties by lower position (Carbonell and Goldstein, SIGIR 1998). vectors (p, w) are
    unit rows; a zero row is similar to nothing. categories (p,) are what the caps count.
    """
    if caps.most is None and not diversity:
        by_relevance: list[int] = np.argsort(-relevance, kind="stable")[:n].tolist()
        return by_relevance
    scaled = (1 - diversity) * _scaled(relevance)
    scaled[np.isin(categories, caps.full_categories())] = -np.inf
    similarity = np.full(len(scaled), LEAST_COSINE if diversity else 0.0)
    chosen: list[int] = []
    while len(chosen) < n and len(scaled):
        best = int(np.argmax(scaled - diversity * similarity))
        if scaled[best] == -np.inf:
            break
        chosen.append(best)
        scaled[best] = -np.inf
        if caps.add(int(categories[best])):
            scaled[categories == categories[best]] = -np.inf
        if diversity and vectors is not None:
            np.maximum(similarity, vectors @ vectors[best], out=similarity)
    return chosen


def _scaled(values: Array) -> Array:
    if not len(values):
        return np.empty(0)
    lowest, span = float(values.min()), float(np.ptp(values))
    scaled: Array = (values.astype(np.float64) - lowest) / (span or 1.0)
    return scaled


def insert_pins(rows: Sequence[int], pins: Sequence[tuple[int, int]], n: int) -> list[int]:
    """The first n of the list that has the pinned rows at their positions (from 1) and the other rows around them.

    A pin whose position is occupied moves to the next free one; a pin beyond the end of the list moves to its end.
    """
    pinned: dict[int, int] = {}
    for position, row in pins:
        pinned[next(place for place in count(position) if place not in pinned)] = row
    merged: list[int] = []
    others = iter(rows)
    for position in range(1, n + 1):
        row = pinned.pop(position) if position in pinned else next(others, END)
        if row == END:
            return (merged + [pinned[place] for place in sorted(pinned)])[:n]
        merged.append(row)
    return merged
