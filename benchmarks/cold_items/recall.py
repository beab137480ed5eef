"""Recall@k of held-out interactions with some of the items, among all items or among these alone."""

from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np

from benchmarks.cold_items.hiding import PreparedData

Array = np.ndarray[Any, Any]

K = 20


class Target:
    """The held-out interactions with one group of items, and which users have any."""

    def __init__(self, data: PreparedData, rows: Array, active: Array) -> None:
        """rows: of the group; active (n_users,): users of whom something is known in training."""
        users, items = data.pairs(train=False)
        chosen = np.isin(items, rows) & active[users]
        self.rows = rows
        self.users = np.unique(users[chosen])
        self._wanted = np.zeros((len(data.user_ids), data.n_items), np.bool_)
        self._wanted[users[chosen], items[chosen]] = True
        self._past = np.zeros_like(self._wanted)
        self._past[data.pairs(train=True)] = True

    @property
    def n_wanted(self) -> int:
        """The number of held-out interactions."""
        return int(self._wanted.sum())

    def of_some(self, most: int) -> "Target":
        """The same of at most so many of the users, evenly spread."""
        some = copy(self)
        some.users = self.users[:: max(1, -(-len(self.users) // most))]
        return some

    def recall(self, scores: Array, among: Array) -> float:
        """The mean over users of the share of wanted items in their K best of the rows `among`, without their past."""
        candidates = np.where(self._past[self.users], -np.inf, scores[self.users])[:, among]
        k = min(K, len(among))
        best = among[np.argpartition(-candidates, k - 1, axis=1)[:, :k]]
        return self.recall_of_lists(best)

    def recall_of_lists(self, lists: Iterable[Array]) -> float:
        """The same of given lists of item rows, one for each of `users`."""
        found = [
            self._wanted[user, rows].sum() / self._wanted[user].sum()
            for user, rows in zip(self.users, lists, strict=True)
        ]
        return float(np.mean(found))
