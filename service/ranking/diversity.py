"""The order of an answer beyond the score: variety by MMR, at most so many of a category, chance among near equals.

All three work on a pool of the best candidates whose size does not depend on how many are asked for, so that the
pages of one answer are pages of one list; what stands behind the pool follows by score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

JITTER = 0.1  # how much a seed may add to a score, in standard deviations of the pool's scores
FURTHEST = -1.0  # the least that a cosine can be
END = -1  # no row


@dataclass(frozen=True)
class Order:
    """How candidates are put in order."""

    diversity: float = 0.0  # 0 by score alone, 1 by unlikeness alone
    by: str = "fused"  # the space in which likeness is measured
    category_cap: int | None = None
    seed: int | None = None

    @property
    def plain(self) -> bool:
        """Whether it is by score."""
        return not self.diversity and self.category_cap is None and self.seed is None


BY_SCORE = Order()


@dataclass
class Caps:
    """How many of each category an answer holds so far. Items without a category (-1) are not counted."""

    most: int | None
    counts: dict[int, int] = field(default_factory=dict)

    def take(self, category: int) -> bool:
        """Count one more; whether its category is now full."""
        if self.most is None or category < 0:
            return False
        self.counts[category] = self.counts.get(category, 0) + 1
        return self.counts[category] >= self.most

    def full(self) -> list[int]:
        """The categories of which no more may come."""
        return [] if self.most is None else [one for one, count in self.counts.items() if count >= self.most]


def jittered(scores: Array, seed: int | None) -> Array:
    """The scores (p,) with a chance that the seed alone decides; two that are further apart never change places."""
    if seed is None or not len(scores):
        return scores
    chance: Array = scores + JITTER * scores.std() * np.random.default_rng(seed).random(len(scores))
    return chance


def arranged(
    relevance: Array, n: int, caps: Caps, categories: Array, *, diversity: float = 0.0, vectors: Array | None = None
) -> list[int]:
    """Positions of at most n of the p candidates, the next one always that of the largest

        (1 - diversity) · relevance - diversity · largest cosine with what was taken

    with relevance (p,) brought to 0..1, ties by lower position (Carbonell and Goldstein, SIGIR 1998). vectors (p, w):
    unit rows, a zero row is like nothing. categories (p,): the caps hold for these.
    """
    if caps.most is None and not diversity:
        by_worth: list[int] = np.argsort(-relevance, kind="stable")[:n].tolist()
        return by_worth
    worth = (1 - diversity) * _scaled(relevance)
    worth[np.isin(categories, caps.full())] = -np.inf
    nearest = np.full(len(worth), FURTHEST if diversity else 0.0)
    taken: list[int] = []
    while len(taken) < n and len(worth):
        best = int(np.argmax(worth - diversity * nearest))
        if worth[best] == -np.inf:
            break
        taken.append(best)
        worth[best] = -np.inf
        if caps.take(int(categories[best])):
            worth[categories == categories[best]] = -np.inf
        if diversity and vectors is not None:
            np.maximum(nearest, vectors @ vectors[best], out=nearest)
    return taken


def _scaled(values: Array) -> Array:
    if not len(values):
        return np.empty(0)
    lowest, span = float(values.min()), float(np.ptp(values))
    scaled: Array = (values.astype(np.float64) - lowest) / (span or 1.0)
    return scaled


def with_pins(rows: Sequence[int], pins: Sequence[tuple[int, int]], n: int) -> list[int]:
    """The first n of the list that has the pinned rows at their positions (from 1) and the others around them.

    A pin whose place is taken goes to the next free one; one beyond the end of the list to its end.
    """
    placed: dict[int, int] = {}
    for position, row in pins:
        placed[next(place for place in count(position) if place not in placed)] = row
    listed: list[int] = []
    others = iter(rows)
    for position in range(1, n + 1):
        row = placed.pop(position) if position in placed else next(others, END)
        if row == END:
            return (listed + [placed[late] for late in sorted(placed)])[:n]
        listed.append(row)
    return listed
