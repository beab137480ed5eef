"""Merges a prepared dataset and later user feedback into a new dataset."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from index.forgotten import ForgottenPeople
from trainer.data import SPLIT_NAMES, Dataset, DatasetInfo, Recipe, Source, read_info
from trainer.datasets.event_log import UserFeedback
from trainer.merge_items import MergedItems
from trainer.parquet import read_parquet
from trainer.prepare import prepare_dataset
from trainer.splits import TRAIN, VALID

HASH_BYTES = 8


@dataclass(frozen=True)
class MergeOptions:
    """How new interactions are split."""

    valid_share: float = 0.1
    seed: int = 0


def merge_feedback(
    old: Dataset,
    feedback: UserFeedback,
    merging: MergeOptions,
    out: Path,
    *,
    items: MergedItems | None = None,
    forgotten: ForgottenPeople | None = None,
) -> DatasetInfo:
    """Write the dataset `out`, whole or not at all: the old interactions with their labels, then the new ones.

    The rules (docs/retraining.md): a pair of user and item in the old data keeps its label; a pair whose
    latest event is a dislike is removed from every split; of the other new pairs of a user, a seeded share goes to
    validation and the rest to training, the first of a user without training among them. Events of items that are
    neither in the old data nor in `items` are skipped; interactions with deleted items are dropped.
    Old interactions of forgotten people are left out; of their events `read_feedback` leaves out the earlier ones.
    """
    named, left_out = _without(_named(old), forgotten or ForgottenPeople())
    if items is None:
        items = MergedItems(old.items, old.features, {}, old.attribute_types, frozenset(), {}, ())
    kept = named.filter(~pl.col("item_id").is_in(list(items.deleted)))
    interactions, counts = merge_interactions(kept, feedback.pairs, items.items["item_id"].to_list(), merging)
    dropped = {"interactions_of_deleted_items_dropped": len(named) - len(kept)} if items.deleted else {}
    source = Source(
        name=old.name,
        interactions=interactions,
        items=items.items,
        features=items.features,
        options=_origin(old, feedback, merging),
        counts={**feedback.counts, **items.counts, **dropped, **counts, **left_out},
        notes=items.notes,
        attribute_types=items.attribute_types,
        encoders=old.encoders,
    )
    return prepare_dataset(source, out, Recipe(split="given", seed=merging.seed), feature_steps=items.steps)


def merge_interactions(
    old: pl.DataFrame, feedback: pl.DataFrame, item_ids: list[str], merging: MergeOptions
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The old interactions (user_id, item_id, rating, timestamp, split) merged with the feedback, and counts."""
    pair = ["user_id", "item_id"]
    known = feedback.filter(pl.col("item_id").is_in(item_ids))
    disliked = known.filter(~pl.col("liked")).select(pair)
    kept = old.join(disliked, on=pair, how="anti", maintain_order="left")
    new = known.filter("liked").join(old.select(pair), on=pair, how="anti", maintain_order="left")
    labelled = _labelled(new, kept, merging)
    together = pl.concat([kept, labelled], how="diagonal")
    return together, {
        "event_pairs_of_unknown_items_skipped": len(feedback) - len(known),
        "old_interactions_taken_back_by_a_dislike": len(old) - len(kept),
        "event_pairs_known_before": known.filter("liked").height - len(new),
        **{f"new_{name}": int((labelled["split"] == label).sum()) for label, name in enumerate(SPLIT_NAMES[:2])},
    }


def _labelled(new: pl.DataFrame, old: pl.DataFrame, merging: MergeOptions) -> pl.DataFrame:
    """Assign splits; a pair's split depends on the seed and the pair alone, so that later retrainings keep it."""
    drawn = [_share(merging.seed, user, item) for user, item in new.select("user_id", "item_id").iter_rows()]
    trained = old.filter(pl.col("split") == TRAIN)["user_id"].unique()
    is_first = pl.int_range(pl.len()).over("user_id") == 0
    needed = is_first & ~pl.col("user_id").is_in(trained.implode())
    held_out = (pl.Series("drawn", drawn, dtype=pl.Float64) < merging.valid_share) & ~needed
    split = pl.when(held_out).then(VALID).otherwise(TRAIN).cast(pl.Int8).alias("split")
    return new.select("user_id", "item_id", "timestamp", split)


def _share(seed: int, user_id: str, item_id: str) -> float:
    """Uniform in [0, 1), the same for the same arguments on every machine and in every version."""
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    text = f"{seed} {len(user_id)} {user_id} {item_id}".encode(errors="surrogatepass")
    drawn = hashlib.blake2b(text, digest_size=HASH_BYTES).digest()
    return int.from_bytes(drawn) / float(256**HASH_BYTES)


def _without(interactions: pl.DataFrame, forgotten: ForgottenPeople) -> tuple[pl.DataFrame, dict[str, int]]:
    """The interactions without those of forgotten people, and how many these are."""
    people = forgotten.positions(interactions["user_id"].unique().to_list())
    kept = interactions.filter(~pl.col("user_id").is_in(list(people)))
    return kept, {"old_interactions_of_forgotten_people": len(interactions) - len(kept)}


def _named(dataset: Dataset) -> pl.DataFrame:
    """The interactions with outside ids, rating included, which `Dataset` leaves out."""
    rows = read_parquet(dataset.path / "interactions.parquet")
    return rows.select(
        pl.Series("user_id", dataset.user_ids, dtype=pl.String).gather(rows["user_row"]),
        pl.Series("item_id", dataset.item_ids, dtype=pl.String).gather(rows["item_row"]),
        "rating",
        "timestamp",
        "split",
    )


def _origin(old: Dataset, feedback: UserFeedback, merging: MergeOptions) -> dict[str, Any]:
    """The data's origin; after several retrainings the first source and the previous dataset."""
    info = read_info(old.path)
    first = info.source.get("first", {"source": info.source, "recipe": info.recipe.model_dump()})
    return {
        "reader": "retrain",
        "first": first,
        "old": str(old.path.resolve()),
        "old_fingerprint": old.fingerprint,
        "events_position": feedback.last_position,
        "valid_share": merging.valid_share,
    }
