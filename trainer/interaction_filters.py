"""Filters of interactions: pure functions of a table with user_id, item_id, rating and timestamp."""

from typing import Literal

import polars as pl

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


def without_repeats(interactions: pl.DataFrame, keep: Repeated) -> pl.DataFrame:
    """Keep one interaction per user and item, the earliest or latest; without times, the first or last."""
    if keep == "all":
        return interactions
    by_time = interactions.with_row_index("place").sort("timestamp", nulls_last=keep == "earliest", maintain_order=True)
    one_each = by_time.unique(
        ["user_id", "item_id"], keep="first" if keep == "earliest" else "last", maintain_order=True
    )
    return one_each.sort("place").drop("place")


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
