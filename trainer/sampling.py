"""Seeded batches of (user, positive, negative) rows."""

import random
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[np.int64]]
IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]


class Batch(NamedTuple):
    """Rows of users, of items they have, and of items they do not have; each (B,) int64."""

    users: Array
    positives: Array
    negatives: Array


class Sampler(Protocol):
    """One negative per training pair, uniform over the items that occur in training and the user does not have.

    An epoch depends on the seed and its number alone, so a resumed run draws the same as an uninterrupted one.
    """

    def __len__(self) -> int:
        """Pairs in an epoch."""

    def epoch(self, number: int, batch_size: int) -> Iterator[Batch]:
        """Yield the shuffled batches of one epoch; the last, smaller one is kept."""


SamplerName = Literal["vectorised", "users", "mmrec"]


def make_sampler(name: SamplerName, user_rows: IntArray, item_rows: IntArray, n_items: int, *, seed: int) -> Sampler:
    """The sampler that the training settings name."""
    kinds = {"vectorised": PairSampler, "users": UserSampler, "mmrec": MMRecSampler}
    kind: Any = kinds[name]
    sampler: Sampler = kind(user_rows, item_rows, n_items, seed=seed)
    return sampler


class PairSampler:
    """The default: draws for all pairs at once."""

    def __init__(self, user_rows: IntArray, item_rows: IntArray, n_items: int, *, seed: int) -> None:
        self._n_items = n_items
        self._seed = seed
        self._users, self._items = teaching_pairs(user_rows, item_rows)
        self._pool = np.unique(item_rows).astype(np.int64)
        self._pairs = np.unique(self._users * n_items + self._items)

    def __len__(self) -> int:
        return len(self._users)

    def epoch(self, number: int, batch_size: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self._seed, number])
        order = self._shuffled(rng)
        users, positives = self._users[order], self._items[order]
        return _batches(users, positives, self._negatives(users, rng), batch_size)

    def _shuffled(self, rng: np.random.Generator) -> Array:
        """The order of the pairs in an epoch."""
        return rng.permutation(len(self._users))

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


class UserSampler(PairSampler):
    """Shuffles users and keeps each one's pairs together, for models that look at a whole history at a time."""

    def _shuffled(self, rng: np.random.Generator) -> Array:
        places = rng.permutation(self._users.max(initial=-1) + 1)
        return np.argsort(places[self._users], kind="stable")


class MMRecSampler:
    """The MMRec toolbox's draws, bit for bit (docs/training.md#samplers), from generators of its own.

    One stream of permutations compounds over the epochs and one of Python's draws runs through them, so an epoch that
    is not the next one costs the draws of all those before it.
    """

    def __init__(self, user_rows: IntArray, item_rows: IntArray, n_items: int, *, seed: int) -> None:
        self._seed = seed
        self._users, self._items = teaching_pairs(user_rows, item_rows)
        self._sorted_pool: list[int] = np.unique(item_rows).tolist()
        self._seen: dict[int, set[int]] = {}
        for user, item in zip(self._users.tolist(), self._items.tolist(), strict=True):
            self._seen.setdefault(user, set()).add(item)
        self._restart()

    def __len__(self) -> int:
        return len(self._users)

    def epoch(self, number: int, batch_size: int) -> Iterator[Batch]:
        if number < self._epochs_drawn:
            self._restart()
        while self._epochs_drawn < number:
            self._draw_epoch()
        users, positives, negatives = self._draw_epoch()
        return _batches(users, positives, negatives, batch_size)

    def _restart(self) -> None:
        self._epochs_drawn = 0
        self._order = np.arange(len(self._users))
        self._shuffles = np.random.RandomState(self._seed)
        self._draws = random.Random(self._seed)
        self._pool = self._sorted_pool.copy()
        self._draws.shuffle(self._pool)

    def _draw_epoch(self) -> Batch:
        self._epochs_drawn += 1
        self._order = self._order[self._shuffles.permutation(len(self._order))]
        users = self._users[self._order]
        negatives = np.array([self._negative(self._seen[user]) for user in users.tolist()], dtype=np.int64)
        return Batch(users, self._items[self._order], negatives)

    def _negative(self, seen: set[int]) -> int:
        item = self._draws.choice(self._pool)
        while item in seen:
            item = self._draws.choice(self._pool)
        return item


def teaching_pairs(user_rows: IntArray, item_rows: IntArray) -> tuple[Array, Array]:
    """All pairs but those of users who have every item of the pool: they have no negative and teach nothing."""
    users, items = user_rows.astype(np.int64), item_rows.astype(np.int64)
    width = items.max(initial=0) + 1
    n_seen = np.bincount(np.unique(users * width + items) // width)
    keep = n_seen[users] < len(np.unique(items))
    return users[keep], items[keep]


def _batches(users: Array, positives: Array, negatives: Array, batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(users), batch_size):
        part = slice(start, start + batch_size)
        yield Batch(users[part], positives[part], negatives[part])
