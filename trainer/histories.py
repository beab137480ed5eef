"""Each user's training items in the order in which the user had them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from index.recency import Recency, past_weights
from trainer.data import NO_TIME, Interactions

Array = np.ndarray[Any, np.dtype[Any]]

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class Histories:
    """The item rows of user u, oldest first, each once: items[offsets[u]:offsets[u + 1]]."""

    offsets: Array
    """(n_users + 1,) int64"""
    items: Array
    """(n,) int32"""
    timestamps: Array
    """(n,) int64 unix seconds, or NO_TIME"""
    n_items: int

    @classmethod
    def of(cls, interactions: Interactions, n_users: int, n_items: int) -> "Histories":
        """Of interactions in any order; of equally old ones, or without times, the earlier given is older."""
        n = len(interactions.user_rows)
        order = np.lexsort((np.arange(n), interactions.timestamps, interactions.user_rows))
        users, items = interactions.user_rows[order].astype(np.int64), interactions.item_rows[order]
        _, first = np.unique(users * n_items + items, return_index=True)
        kept = np.sort(first)
        counts = np.bincount(users[kept], minlength=n_users)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(offsets, items[kept].astype(np.int32), interactions.timestamps[order][kept], n_items)

    @property
    def timed(self) -> bool:
        """Whether the time of any interaction is known; without one the order within a user says nothing."""
        return bool((self.timestamps != NO_TIME).any())

    def binary(self) -> sp.csr_matrix:
        """X (n_users, n_items) float32: 1 where the user has the item."""
        ones = np.ones(len(self.items), np.float32)
        return self._by_user(ones)

    def matrix(self, recency: Recency | None = None) -> sp.csr_matrix:
        """(n_users, n_items) float32: the recency weight of each past item over the root of the user's weights.

        A row times `fold_in` (n_items, d) is the user's embedding (docs/bundle.md); without recency a weight is 1.
        """
        weights = past_weights(self.offsets, recency)
        sums = np.add.reduceat(np.append(weights, 0), self.offsets[:-1]) * (np.diff(self.offsets) > 0)
        scale = 1 / np.sqrt(np.maximum(sums, np.finfo(np.float32).tiny))
        values = weights * np.repeat(scale, np.diff(self.offsets))
        return self._by_user(values.astype(np.float32))

    def _by_user(self, values: Array) -> sp.csr_matrix:
        shape = (len(self.offsets) - 1, self.n_items)
        # A copy: whoever sorts the matrix's indices must not reorder the histories.
        return sp.csr_matrix((values, self.items, self.offsets), shape=shape, copy=True)

    def windows(self, length: int, stride: int) -> tuple[sp.csr_matrix, Array]:
        """Windows of consecutive items of a user: (n_windows, n_items) 0/1, and the user row of each window.

        A user's windows begin at stride - length, 2 stride - length, ... below the user's number of items, and are cut
        at both ends; so each interaction is in length / stride of them.
        """
        counts = np.diff(self.offsets)
        users = np.repeat(np.arange(len(counts)), counts)
        places = np.arange(len(self.items)) - self.offsets[users]  # of an interaction in its history
        n_windows = np.where(counts > 0, -(-(counts + length - stride) // stride), 0)
        first = np.concatenate([[0], np.cumsum(n_windows)])
        windows, items = [], []
        for shift in range(-(-length // stride)):
            number = places // stride + shift
            inside = number <= (places + length - stride) // stride
            windows.append((first[users] + number)[inside])
            items.append(self.items[inside])
        at = np.concatenate(windows), np.concatenate(items)
        matrix = sp.csr_matrix((np.ones(len(at[0]), np.float32), at), shape=(first[-1], self.n_items))
        return matrix, np.repeat(np.arange(len(counts)), n_windows)

    def halves(self, length: int, stride: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Of each window of `length` items around a place in a history: its earlier and its later half.

        Returns:
            Two matrices (n_windows, n_items) 0/1; places are `stride` apart, windows are cut at both ends.
        """
        half = max(length // 2, 1)
        counts = np.diff(self.offsets)
        users = np.repeat(np.arange(len(counts)), counts)
        places = np.arange(len(self.items)) - self.offsets[users]
        n_windows = np.maximum(counts - 1, 0) // stride  # after `stride`, 2 `stride` ... items
        first = np.concatenate([[0], np.cumsum(n_windows)])
        earlier = self._within(first, users, n_windows, places // stride + 1, (places + half) // stride, stride)
        later = self._within(first, users, n_windows, -(-(places - half + 1) // stride), places // stride, stride)
        return earlier, later

    def decayed_counts(self, half_life_days: float) -> Array:
        """(n_items,) float64 interactions by age: one of `half_life_days` before the newest counts half."""
        return decayed_counts(self.items, self.timestamps, self.n_items, half_life_days)

    def _within(self, first: Array, users: Array, n_windows: Array, low: Array, high: Array, stride: int) -> sp.csr_matrix:
        """(n_windows, n_items) 1 where an interaction is in the windows of its user with these numbers, from 1."""
        low, high = np.maximum(low, 1), np.minimum(high, n_windows[users])
        rows, items = [], []
        for shift in range(int(np.max(high - low, initial=-1)) + 1):
            inside = low + shift <= high
            rows.append((first[users] + low + shift - 1)[inside])
            items.append(self.items[inside])
        at = (np.concatenate([*rows, []]).astype(np.int64), np.concatenate([*items, []]).astype(np.int64))
        return sp.csr_matrix((np.ones(len(at[0]), np.float32), at), shape=(first[-1], self.n_items))


def decayed_counts(item_rows: Array, timestamps: Array, n_items: int, half_life_days: float) -> Array:
    """(n_items,) float64 interactions by age before the newest, halved every `half_life_days`.

    Those without a time count nothing; where none has one, each counts 1.
    """
    known = timestamps != NO_TIME
    if not known.any():
        return np.bincount(item_rows, minlength=n_items).astype(np.float64)
    age_days = (timestamps[known].max() - timestamps[known]) / SECONDS_A_DAY
    return np.bincount(item_rows[known], weights=np.exp2(-age_days / half_life_days), minlength=n_items)
