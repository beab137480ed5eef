"""Any table of interactions, with or without a table of items and pictures."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index.errors import InputError
from trainer.data import Source
from trainer.datasets.columns import (
    ITEM,
    RATING,
    TIME,
    USER,
    as_numbers,
    find_column,
    need_column,
)
from trainer.datasets.ids import Ids, read_ids
from trainer.datasets.item_table import ItemTableOptions, items_of, read_item_table
from trainer.datasets.joining import meeting_note, without_point
from trainer.datasets.reading import read_table
from trainer.datasets.separated import FOUND_OUT, TextFormat
from trainer.datasets.times import AUTO, TimeOptions, Times, read_times
from trainer.interaction_filters import Repeated, rated_at_least, without_missing_ids, without_repeats


@dataclass(frozen=True)
class InteractionOptions:
    """Where interactions are and which of them count; columns that are not named are found by usual names."""

    file: Path
    written: TextFormat = FOUND_OUT
    exact_ids: bool = False
    user_column: str | None = None
    item_column: str | None = None
    rating_column: str | None = None
    time_column: str | None = None
    times: TimeOptions = AUTO
    min_rating: float | None = None
    repeated: Repeated = "earliest"


def read(
    interactions: InteractionOptions,
    items: ItemTableOptions | None = None,
    *,
    images: Path | None = None,
    features: Mapping[str, NDArray[np.floating]] | None = None,
) -> Source:
    """Interactions in time order, or file order where there are no times.

    `features` belong to the rows of the item table; `images` is for when there is no such table.
    """
    if features and items is None:
        raise InputError("ready features need an item table, whose rows they belong to")
    described = read_item_table(items) if items else None
    found, counts, notes = _read_interactions(interactions, described.items["item_id"] if described else None)
    table = described or items_of(found["item_id"].unique(maintain_order=True).cast(pl.String), images)
    if items:
        notes += (
            meeting_note(
                "items of the interactions", found["item_id"], table.items["item_id"], f"in {items.file.name}"
            ),
        )
    return Source(
        name=interactions.file.name.split(".")[0],
        interactions=found.sort("timestamp", nulls_last=True, maintain_order=True),
        items=table.items,
        features=features or {},
        options={
            "reader": "table",
            "interactions": asdict(interactions),
            "items": asdict(items) if items else None,
            "images": images,
        },
        counts=counts | table.counts,
        notes=notes + table.notes,
        attribute_types=table.attribute_types,
    )


def _read_interactions(
    options: InteractionOptions, described: pl.Series | None
) -> tuple[pl.DataFrame, dict[str, int], tuple[str, ...]]:
    table = read_table(options.file, options.written)
    columns = table.frame

    user = need_column(table, USER, options.user_column)
    item = need_column(table, ITEM, options.item_column)
    rating = find_column(table, RATING, options.rating_column)
    time = find_column(table, TIME, options.time_column)
    users, items = (_categories(read_ids(columns[name], exact=options.exact_ids)) for name in (user, item))
    item_ids = items.values if described is None or options.exact_ids else without_point(items.values, described)
    empty = pl.Series([None]).new_from_index(0, len(columns))
    times = read_times(columns[time], options.times) if time else Times(empty.cast(pl.Int64), ())
    found = pl.DataFrame(
        {
            "user_id": users.values,
            "item_id": item_ids,
            "rating": as_numbers(columns[rating]) if rating else empty.cast(pl.Float64),
            "timestamp": times.seconds,
        }
    )
    del columns
    table = replace(table, frame=pl.DataFrame())
    kept, counts = _chosen(found, options, has_rating=rating is not None)
    chosen = {"user": user, "item": item, "rating": rating, "time": time}
    named = ", ".join(f"{what}: {name or 'none'}" for what, name in chosen.items())
    notes = (
        table.note,
        f"{options.file.name}: {named} (--user-column, --item-column, --rating-column, --time-column)",
        f"ids: {user} {users.kind}, {item} {items.kind} (--ids)",
    )
    return kept, counts, (*notes, *times.notes, *_time_span(times.seconds))


def _categories(ids: Ids) -> Ids:
    """The ids as categories: four bytes each instead of sixteen and more."""
    return replace(ids, values=ids.values.cast(pl.Categorical))


def _chosen(
    found: pl.DataFrame, options: InteractionOptions, *, has_rating: bool
) -> tuple[pl.DataFrame, dict[str, int]]:
    rated = named = without_missing_ids(found)
    counts = {"interactions_read": len(found), "dropped_without_user_or_item_id": len(found) - len(named)}
    if options.min_rating is not None:
        if not math.isfinite(options.min_rating):
            raise InputError(f"--min-rating is {options.min_rating}; expected a finite number")
        if not has_rating:
            raise InputError(f"{options.file}: --min-rating needs a rating column; name it with --rating-column")
        rated = rated_at_least(named, options.min_rating)
        counts[f"dropped_rated_under_{options.min_rating:g}"] = len(named) - len(rated)
    kept = without_repeats(rated, options.repeated)
    counts["dropped_repeats_of_a_user_and_item"] = len(rated) - len(kept)
    return kept, counts


def _time_span(timestamps: pl.Series) -> tuple[str, ...]:
    """Shown to a person, so that times read in a wrong unit are seen."""
    first, last = timestamps.min(), timestamps.max()
    if not (isinstance(first, int) and isinstance(last, int)):
        return ()
    days = [f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d}" for second in (first, last)]
    return (f"times from {days[0]} to {days[1]}, {timestamps.null_count():,} interactions without",)
