"""Answers worked out the slow way, in float64 and by Python's sort: what the service's answers are held against."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from index.bundle import Bundle


@dataclass
class Reference:
    """Lists for one vector over one bundle."""

    bundle: Bundle
    vector: np.ndarray
    left_out: set[int] = field(default_factory=set)
    shares: dict[int, float] = field(default_factory=dict)  # what rules add

    def scores(self) -> np.ndarray:
        scores = self.bundle.item_embeddings.astype(np.float64) @ self.vector.astype(np.float64)
        for row, share in self.shares.items():
            scores[row] += share
        return scores

    def rows(self) -> list[int]:
        """Every row that may be shown, best first."""
        scores = self.scores()
        return sorted(set(range(len(scores))) - self.left_out, key=lambda row: (-scores[row], row))

    def ids(self) -> list[str]:
        return [self.bundle.item_ids[row] for row in self.rows()]

    def unit(self) -> float:
        """The standard deviation of the model's scores over the catalogue."""
        return float(np.std(self.bundle.item_embeddings.astype(np.float64) @ self.vector.astype(np.float64)))


def rows_with(bundle: Bundle, name: str, *values: str) -> set[int]:
    """The rows of a category or of an attribute's value, from the items themselves."""

    def has(item: dict[str, Any]) -> bool:
        found = item["category"] if name == "category" else item["attributes"].get(name)
        return found in values

    return {row for row in range(len(bundle.item_ids)) if has(bundle.item(row))}


def summed(item: dict[str, Any]) -> tuple[float, float]:
    """What the two ways of splitting an explained item's score add up to."""
    why = item["explanation"]
    by_past = sum(past["contribution"] for past in why["past_items"]) + why["other_past_items"] + why["user_own"]
    return sum(why["parts"].values()) + why.get("rules", 0.0), by_past + why.get("rules", 0.0)


def folded(bundle: Bundle, strengths: dict[int, float], own: np.ndarray | None = None) -> np.ndarray:
    """The vector of a past with these strengths by item row, oldest first, by the formula of docs/bundle.md."""
    vector = np.zeros(bundle.fold_in.shape[1]) if own is None else own.astype(np.float64)
    weights = weighted(bundle, strengths)
    total = sum(map(abs, weights.values()))
    for row, weight in weights.items():
        vector = vector + total**-0.5 * weight * bundle.fold_in[row].astype(np.float64)
    return vector


def weighted(bundle: Bundle, strengths: dict[int, float]) -> dict[int, float]:
    """The weights of a past with these strengths, oldest first: each by its rank, as the bundle says."""
    recency, newest = bundle.recency, len(strengths) - 1
    if recency is None:
        return strengths
    return {
        row: strength * (recency.floor + (1 - recency.floor) * math.exp((place - newest) / recency.tau))
        for place, (row, strength) in enumerate(strengths.items())
    }
