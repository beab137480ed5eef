"""The order of items for who is unknown: by the popularity trend where the bundle has one, else by users."""

from typing import Any

import numpy as np

from index.bundle import Bundle

Array = np.ndarray[Any, Any]


def popularity_of(bundle: Bundle) -> Array:
    """The popularity (n_items,) that scores items for an unknown user."""
    trend = bundle.popularity_trend
    return trend if trend.any() else bundle.popularity_count


def ordered_by(popularity: Array) -> Array:
    """The item rows (n_items,), the most popular first, ties by lower row."""
    return np.argsort(-popularity, kind="stable")


def most_popular(by_popularity: Array, k: int, excluded: Array) -> Array:
    """The first k rows of the order that are not excluded."""
    rows = by_popularity[: k + len(excluded)]
    return rows[~np.isin(rows, excluded)][:k] if len(excluded) else rows
