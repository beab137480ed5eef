"""Popularity that fades: interactions by age."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NO_TIME = -1  # timestamp of an interaction whose time is not known
SECONDS_A_DAY = 86_400.0


def decayed_counts(item_rows: Array, timestamps: Array, n_items: int, half_life_days: float) -> Array:
    """(n_items,) float64 interactions by age before the newest, halved every `half_life_days`.

    Those without a time count nothing; where none has one, each counts 1.
    """
    known = timestamps != NO_TIME
    if not known.any():
        return np.bincount(item_rows, minlength=n_items).astype(np.float64)
    age_days = (timestamps[known].max() - timestamps[known]) / SECONDS_A_DAY
    return np.bincount(item_rows[known], weights=np.exp2(-age_days / half_life_days), minlength=n_items)
