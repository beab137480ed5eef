"""Each user's training items in the order in which the user had them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from index.recency import Recency, past_weights
from index.trend import NO_TIME, decayed_counts
from trainer.data import Interactions
from trainer.progress import track

Array = np.ndarray[Any, np.dtype[Any]]

MOST_PAIRS = 300_000_000
"""Pairs of an item and one that follows it that are counted at most: minutes."""


class Spans(NamedTuple):
    """Stretches of users' histories, each (n,): the items at begin to end, oldest first, of the user's."""

    users: Array
    begins: Array
    ends: Array

    def beside(self, others: "Spans") -> "Spans":
        """These, and then the others."""
        return Spans(*(np.concatenate(pair) for pair in zip(self, others, strict=True)))


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
        """Whether the time of every interaction is known; else the order within a user says nothing."""
        return bool((self.timestamps != NO_TIME).all())

    def binary(self) -> sp.csr_matrix:
        """X (n_users, n_items) float32: 1 where the user has the item."""
        ones = np.ones(len(self.items), np.float32)
        return self._by_user(ones)

    def by_item(self) -> sp.csr_matrix:
        """X as `binary`, in float64 and with a user's items in ascending order."""
        matrix = self._by_user(np.ones(len(self.items)))
        matrix.sort_indices()
        return matrix

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

    def windows(self, length: int, stride: int) -> Spans:
        """Windows of consecutive items of a user.

        They begin at stride - length, 2 stride - length, ... below the user's number of items, and are cut at both
        ends; so each interaction is in length / stride of them.
        """
        counts = np.diff(self.offsets)
        n_windows = np.where(counts > 0, -(-(counts + length - stride) // stride), 0)
        users = np.repeat(np.arange(len(counts)), n_windows)
        numbers = np.arange(len(users)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        begins = (numbers + 1) * stride - length
        return Spans(users, np.maximum(begins, 0), np.minimum(begins + length, counts[users]))

    def whole(self) -> Spans:
        """All of each user's items."""
        counts = np.diff(self.offsets)
        return Spans(np.arange(len(counts)), np.zeros_like(counts), counts)

    def rows_of(self, spans: Spans, weights: Array) -> sp.csr_matrix:
        """Z (n_distinct, n_items) float32 of which Z^T Z counts each span's items with one another by its weight (n,).

        Equal spans, as all windows of a short history are, are one row.
        """
        longest = int(np.diff(self.offsets).max(initial=0)) + 1
        codes = (spans.users.astype(np.int64) * longest + spans.begins) * longest + spans.ends
        _, first, place = np.unique(codes, return_index=True, return_inverse=True)
        values = np.sqrt(np.bincount(place.ravel(), weights=weights, minlength=len(first)))
        begins = self.offsets[spans.users[first]] + spans.begins[first]
        lengths = spans.ends[first] - spans.begins[first]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], lengths)
        entries = (np.repeat(values, lengths).astype(np.float32), self.items[places], offsets)
        return sp.csr_matrix(entries, shape=(len(first), self.n_items))

    def followers(self, length: int, user_weights: Array, n_interactions: int) -> sp.csr_matrix:
        """How often, and how soon, an item is followed by another: (n_items, n_items) float32.

        An item j that comes g < length events after i adds 1 - g / length, times the user's weight (n_users,). With
        very many interactions, of these and of users elsewhere, the length is reduced, so that there are at most
        MOST_PAIRS such pairs.
        """
        counts = np.diff(self.offsets)
        users = np.repeat(np.arange(len(counts)), counts)
        length = min(length, 1 + MOST_PAIRS // max(n_interactions, 1))
        shape = (self.n_items, self.n_items)
        total = sp.csr_matrix(shape, dtype=np.float32)
        for gap in track(range(1, length), "order of events"):
            same = np.flatnonzero(users[:-gap] == users[gap:])
            weights = ((1 - gap / length) * user_weights[users[same]]).astype(np.float32)
            total = total + sp.csr_matrix((weights, (self.items[same], self.items[same + gap])), shape=shape)
        return total

    def decayed_counts(self, half_life_days: float) -> Array:
        """(n_items,) float64 interactions by age: one of `half_life_days` before the newest counts half."""
        return decayed_counts(self.items, self.timestamps, self.n_items, half_life_days)
