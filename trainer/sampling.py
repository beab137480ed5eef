"""Seeded batches of (user, positive, negative) rows."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.int64]]
IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]


class Batch(NamedTuple):
    """Rows of users, of items they have, and of items they do not have; each (B,) int64."""

    users: Array
    positives: Array
    negatives: Array


class PairSampler:
    """One negative per training pair, uniform over the items that occur in training and the user does not have.

    An epoch depends on the seed and its number alone, so a resumed run draws what the unbroken one would have drawn.
    """

    def __init__(self, user_rows: IntArray, item_rows: IntArray, n_items: int, *, seed: int) -> None:
        self._users = user_rows.astype(np.int64)
        self._items = item_rows.astype(np.int64)
        self._n_items = n_items
        self._pool = np.unique(self._items)
        self._pairs = np.unique(self._users * n_items + self._items)
        self._seed = seed
        # A user who has every item of the pool has no negative; such a pair teaches nothing and is left out.
        n_seen = np.bincount(np.unique(self._pairs) // n_items, minlength=int(self._users.max(initial=0)) + 1)
        keep = n_seen[self._users] < len(self._pool)
        self._users, self._items = self._users[keep], self._items[keep]

    def __len__(self) -> int:
        return len(self._users)

    def epoch(self, number: int, batch_size: int) -> Iterator[Batch]:
        """Yield the shuffled batches of one epoch; the last, smaller one is kept."""
        rng = np.random.default_rng([self._seed, number])
        order = rng.permutation(len(self._users))
        users, positives = self._users[order], self._items[order]
        negatives = self._negatives(users, rng)
        for start in range(0, len(users), batch_size):
            part = slice(start, start + batch_size)
            yield Batch(users[part], positives[part], negatives[part])

    def _negatives(self, users: Array, rng: np.random.Generator) -> Array:
        """Draw for all users at once, then redraw the few that the user has, until none is left."""
        negatives = self._pool[rng.integers(len(self._pool), size=len(users))]
        wrong = np.flatnonzero(self._is_seen(users, negatives))
        while len(wrong):
            negatives[wrong] = self._pool[rng.integers(len(self._pool), size=len(wrong))]
            wrong = wrong[self._is_seen(users[wrong], negatives[wrong])]
        return negatives

    def _is_seen(self, users: Array, items: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        keys = users * self._n_items + items
        places = np.searchsorted(self._pairs, keys)
        places[places == len(self._pairs)] = 0
        seen: np.ndarray[Any, np.dtype[np.bool_]] = self._pairs[places] == keys
        return seen
