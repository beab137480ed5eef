"""Scores single items, and computes what boosts add to scores."""

import math
from functools import cached_property
from typing import Any

import numpy as np

from service.ranking.constraints import Constraints

Array = np.ndarray[Any, Any]

SAMPLE = 4_096  # items; enough to estimate the deviation of scores to about 1 %


class Scoring:
    """Scores a bundle's items for a user vector, or without one by popularity."""

    def __init__(self, embeddings: Array, popularity: Array, units: "Scoring | None" = None) -> None:
        """`units`: whose units of boosts are used, over nearly the same items."""
        self.embeddings = embeddings  # (n_items, d)
        self.popularity = popularity  # (n_items,)
        self._units = units

    def __len__(self) -> int:
        return len(self.embeddings)

    def score(self, vector: Array | None, rows: Array) -> Array:
        """The scores (r,) of these rows, float32."""
        if vector is None:
            return self.popularity[rows].astype(np.float32)
        scores: Array = np.einsum("rd,d->r", self.embeddings[rows], vector)  # bit-identical to the search's scores
        return scores

    def boost_unit(self, vector: Array | None) -> float:
        """The unit of boosts: the standard deviation of the scores of all items."""
        if self._units is not None:
            return self._units.boost_unit(vector)
        if vector is None:
            return float(self.popularity.std())
        variance = float(vector @ self._covariance @ vector)
        return math.sqrt(max(0.0, variance))

    def over(self, embeddings: Array, popularity: Array) -> "Scoring":
        """The same scoring over other items besides; boosts keep their unit."""
        return Scoring(embeddings, popularity, self._units or self)

    def boost_shares(self, constraints: Constraints, vector: Array | None) -> Array:
        """What boosts add to the score of every item, (n_items,) float32."""
        shares = np.zeros(len(self), np.float32)
        rows, amounts = constraints.boosted
        if len(rows):
            shares[rows] = amounts * self.boost_unit(vector)
        return shares

    @cached_property
    def _covariance(self) -> Array:
        n, d = self.embeddings.shape
        sample = self.embeddings[np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)].astype(np.float64)
        return np.cov(sample, rowvar=False, bias=True).reshape(d, d)
