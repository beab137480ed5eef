"""Filters of interactions: pure functions of a table with user_id, item_id, rating and timestamp."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index.errors import InputError

Repeated = Literal["earliest", "latest", "all"]
UnknownItems = Literal["keep", "drop", "error"]
SHOWN_IDS = 5


def without_missing_ids(interactions: pl.DataFrame) -> pl.DataFrame:
    """Drop rows without a user or an item."""
    there = (pl.col(name).is_not_null() & (pl.col(name) != "") for name in ("user_id", "item_id"))
    return interactions.filter(*there)


def rated_at_least(interactions: pl.DataFrame, min_rating: float) -> pl.DataFrame:
    """Keep rows rated at least `min_rating`; a row without a rating is dropped."""
    return interactions.filter(pl.col("rating") >= min_rating)


def pair_codes(interactions: pl.DataFrame) -> NDArray[np.uint64]:
    """(n,) a number for each user and item, the same for the same two."""
    users, items = (interactions[name].cast(pl.Categorical).to_physical() for name in ("user_id", "item_id"))
    codes: NDArray[np.uint64] = users.to_numpy().astype(np.uint64) << np.uint64(32) | items.to_numpy()
    return codes


def without_repeats(interactions: pl.DataFrame, keep: Repeated) -> pl.DataFrame:
    """Keep one interaction per user and item, the earliest or latest; without times, the first or last."""
    if keep == "all":
        return interactions
    unknown = np.iinfo(np.int64)
    times = interactions["timestamp"].fill_null(unknown.max if keep == "earliest" else unknown.min).to_numpy()
    pairs = pair_codes(interactions)
    order = np.lexsort((times, pairs))  # stable: of equally old ones the earlier place comes first
    changes = np.flatnonzero(np.diff(pairs[order]))
    kept = np.zeros(len(interactions), np.bool_)
    last = np.append(changes, len(order) - 1)[: len(order)]
    kept[order[last if keep == "latest" else np.append(0, changes + 1)[: len(order)]]] = True
    return interactions.filter(pl.Series(kept))


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """Drop users and items with fewer than k interactions, together, until none is left."""
    while True:
        enough = [pl.len().over(name) >= k for name in ("user_id", "item_id")]
        kept = interactions.filter(*enough)
        if len(kept) == len(interactions):
            return kept
        interactions = kept


def unknown_item_ids(interactions: pl.DataFrame, items: pl.DataFrame, policy: UnknownItems) -> pl.Series:
    """Items of interactions that the item table lacks; with the policy "error" that is an InputError."""
    ids = interactions["item_id"].unique(maintain_order=True).cast(pl.String)
    unknown = ids.filter(~ids.is_in(items["item_id"].implode()))
    if policy == "error" and len(unknown):
        shown = ", ".join(item_id[:80] for item_id in unknown[:SHOWN_IDS])
        raise InputError(f"{len(unknown):,} items of the interactions are not in the item table: {shown}")
    return unknown
