"""Writes the canonical dataset folder from a reader's source: filters, splits, assigns rows, adds features."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index.errors import InputError
from index.storage import remove_leftovers, save_array, sync, sync_tree, temporary_folder
from trainer.data import (
    FORMAT,
    INTERACTION_SCHEMA,
    ITEM_COLUMNS,
    MODALITIES,
    ROW_SCHEMA,
    SPLIT_NAMES,
    DatasetInfo,
    EncoderName,
    Recipe,
    Source,
    fingerprint,
)
from trainer.features import FeatureArray, checked_features, forget_pages, row_blocks, with_mean_for_zero_rows
from trainer.interaction_filters import k_core, pair_codes, unknown_item_ids, without_missing_ids
from trainer.splits import TEST, TRAIN, VALID, split_labels


class MadeFeatures(NamedTuple):
    """Features (n_items, width), how many items had no input, and the encoder that made them, if one did."""

    features: NDArray[np.floating]
    n_without_input: int
    encoder: EncoderName | None = None


FeatureStep = Callable[[pl.DataFrame, Mapping[str, FeatureArray]], MadeFeatures | None]
"""Makes one modality's features out of the items in row order and the features made so far; None without input."""

FEWEST_STEPS, SUSPICIOUS_SHARE = 100, 0.99
"""Of a user's next interactions that are of a later item row, from which on the times are doubted."""


@dataclass(frozen=True)
class _Numbered:
    """Interactions as rows, and the users and items that the rows point into."""

    rows: pl.DataFrame  # ROW_SCHEMA
    user_ids: pl.Series
    items: pl.DataFrame  # ITEM_COLUMNS and source_row, the row in the source's item table (null: it is not there)


def prepare_dataset(
    source: Source,
    out: Path,
    recipe: Recipe,
    *,
    feature_steps: Mapping[str, FeatureStep] | None = None,
    overwrite: bool = False,
) -> DatasetInfo:
    """Write the folder `out` atomically and return its dataset.json.

    A modality that the source does not provide is made by the step of that name, in the order of the steps.
    Unless the source fixes the rows, users and items are numbered by first appearance, items without
    interactions last. InputError: `out` is occupied, nothing is left after the filters, features do not fit, or
    the split lacks what it needs.
    """
    refuse_occupied(out, overwrite)
    counts = dict(source.counts)
    numbered = _numbered(source, recipe, counts)
    features, encoders = _ready_features(source, numbered.items, counts), dict(source.encoders)
    for modality, step in (feature_steps or {}).items():
        if modality not in features and (made := step(numbered.items, features)) is not None:
            _add_features(features, modality, made, numbered.items, counts)
            if made.encoder is not None:
                encoders[modality] = made.encoder
    with _atomic_folder(out.absolute()) as folder:
        _write_content(folder, numbered, features)
        info = DatasetInfo(
            format=FORMAT,
            name=source.name,
            source=dict(source.options),
            recipe=recipe,
            counts=counts | _sizes(numbered),
            notes=(*source.notes, *_held_out_notes(numbered), *_order_notes(source, numbered)),
            n_users=len(numbered.user_ids),
            n_items=len(numbered.items),
            n_interactions=len(numbered.rows),
            features={name: array.shape[1] for name, array in features.items()},
            attribute_types=dict(source.attribute_types),
            fingerprint=fingerprint(folder, features),
            encoders={modality: encoders[modality] for modality in features if modality in encoders},
        )
        (folder / "dataset.json").write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return info


def refuse_occupied(out: Path, overwrite: bool) -> None:
    """InputError unless `out` is free, empty, or a prepared dataset that may be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "dataset.json").is_file():
        raise InputError(f"{out} exists and holds something that is not a prepared dataset; choose another folder")
    if not overwrite:
        raise InputError(f"{out} already holds a prepared dataset; --overwrite replaces it")


def _numbered(source: Source, recipe: Recipe, counts: dict[str, int]) -> _Numbered:
    items = _whole_item_table(source)
    interactions = _chosen(_whole_interactions(source, counts), items, recipe, counts)
    labelled = _split(interactions, recipe)
    kept = _without_cold_start_users(labelled)
    counts["dropped_held_out_interactions_of_users_without_training"] = len(labelled) - len(kept)
    user_ids = _user_ids(source, kept)
    items = _items_in_row_order(source, items, kept["item_id"], recipe)
    rows = kept.select(
        _rows_of(kept["user_id"], user_ids).alias("user_row"),
        _rows_of(kept["item_id"], items["item_id"]).alias("item_row"),
        "rating",
        "timestamp",
        "split",
    )
    return _Numbered(rows.cast(dict(ROW_SCHEMA)), user_ids, items)  # type: ignore[arg-type]


def _whole_interactions(source: Source, counts: dict[str, int]) -> pl.DataFrame:
    """Of INTERACTION_SCHEMA, but with ids as categories: four bytes each instead of sixteen and more."""
    found = source.interactions
    missing = [pl.lit(None).alias(name) for name in INTERACTION_SCHEMA if name not in found.columns]
    kinds = dict(INTERACTION_SCHEMA) | dict.fromkeys(("user_id", "item_id"), pl.Categorical())
    whole = found.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in kinds.items())
    finite = whole.with_columns(pl.when(pl.col("rating").is_finite()).then("rating").alias("rating"))
    if lost := finite["rating"].null_count() - whole["rating"].null_count():
        counts["ratings_that_are_not_finite_taken_as_unknown"] = lost
    return finite


def _whole_item_table(source: Source) -> pl.DataFrame:
    found = source.items
    whole = found.select(
        (pl.col(name).cast(pl.String).fill_null(default) if name in found.columns else pl.lit(default)).alias(name)
        for name, default in ITEM_COLUMNS.items()
    )
    if repeated := whole["item_id"].filter(whole["item_id"].is_duplicated()).unique(maintain_order=True).to_list():
        shown = ", ".join(repr(item_id[:80]) for item_id in repeated[:5])
        raise InputError(f"the item table has {len(repeated):,} item ids more than once: {shown}")
    return whole.with_row_index("source_row")


def _chosen(interactions: pl.DataFrame, items: pl.DataFrame, recipe: Recipe, counts: dict[str, int]) -> pl.DataFrame:
    """Apply the filters in order, counting what each drops; InputError when nothing is left."""
    named = without_missing_ids(interactions)
    _count(counts, "dropped_without_user_or_item_id", len(interactions) - len(named))
    unknown = unknown_item_ids(named, items, recipe.unknown_items)
    _count(counts, "items_missing_in_the_item_table", len(unknown))
    known = named
    if recipe.unknown_items == "drop":
        known = named.filter(~pl.col("item_id").is_in(unknown.cast(pl.Categorical).implode()))
        counts["dropped_of_items_missing_in_the_item_table"] = len(named) - len(known)
    kept = k_core(known, recipe.k_core)
    _count(counts, "dropped_outside_the_k_core", len(known) - len(kept))
    if kept.is_empty():
        dropped = ", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in counts.items() if count)
        raise InputError(f"no interactions are left after the filters ({dropped or 'the input is empty'})")
    counts["repeated_user_item_pairs_kept"] = len(kept) - len(np.unique(pair_codes(kept)))
    return kept


def _count(counts: dict[str, int], what: str, n: int) -> None:
    """Add to a count that the reader may have started."""
    counts[what] = counts.get(what, 0) + n


def _split(interactions: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    user_codes = _rows_of(interactions["user_id"], interactions["user_id"].unique(maintain_order=True))
    timestamps, given = (
        None if interactions[name].has_nulls() else interactions[name].to_numpy() for name in ("timestamp", "split")
    )
    labels = split_labels(recipe.split, user_codes.to_numpy(), timestamps, given, recipe.seed)
    return interactions.with_columns(pl.Series("split", labels))


def _without_cold_start_users(labelled: pl.DataFrame) -> pl.DataFrame:
    """Drop what is held out of users who have nothing to train on."""
    kept = labelled.filter((pl.col("split") == TRAIN).any().over("user_id"))
    if kept.is_empty():
        raise InputError(f"the split leaves nothing to train on: none of {len(labelled):,} interactions is labelled 0")
    return kept


def _user_ids(source: Source, interactions: pl.DataFrame) -> pl.Series:
    if source.user_ids is None:
        return interactions["user_id"].unique(maintain_order=True).cast(pl.String)
    return pl.Series("user_id", list(source.user_ids), dtype=pl.String)


def _items_in_row_order(source: Source, items: pl.DataFrame, interacted: pl.Series, recipe: Recipe) -> pl.DataFrame:
    if source.user_ids is not None:
        return items
    appearance = interacted.unique(maintain_order=True).cast(pl.String).to_frame().with_row_index("appearance")
    everything = items.join(appearance, on="item_id", how="full", coalesce=True, maintain_order="left_right")
    if recipe.cold_items == "drop":
        everything = everything.filter(pl.col("appearance").is_not_null())
    ordered = everything.sort("appearance", nulls_last=True, maintain_order=True).drop("appearance")
    return ordered.with_columns(pl.col(name).fill_null(default) for name, default in ITEM_COLUMNS.items())


def _rows_of(ids: pl.Series, table: pl.Series) -> pl.Series:
    """The row in `table` of every id, which are categories; each must be in it."""
    codes = table.cast(pl.Categorical).to_physical()
    return ids.to_physical().replace_strict(codes, np.arange(len(table), dtype=np.int32), return_dtype=pl.Int32)


def _ready_features(source: Source, items: pl.DataFrame, counts: dict[str, int]) -> dict[str, FeatureArray]:
    features: dict[str, FeatureArray] = {}
    source_item_ids = source.items["item_id"].to_list()
    for modality, given in source.features.items():
        array = checked_features(modality, given, source_item_ids)
        ordered = _in_row_order(array, items["source_row"])
        _add_features(features, modality, MadeFeatures(ordered, 0), items, counts)
    return features


def _in_row_order(features: FeatureArray, source_rows: pl.Series) -> FeatureArray:
    """Rows in the dataset's order; zero for items that the source's table lacks."""
    ordered = np.zeros((len(source_rows), features.shape[1]), features.dtype)
    there = np.flatnonzero(source_rows.is_not_null().to_numpy())
    rows = source_rows.drop_nulls().to_numpy()
    for part in row_blocks(len(rows)):
        ordered[there[part]] = features[rows[part]]
    forget_pages(features)
    return ordered


def _add_features(
    features: dict[str, FeatureArray],
    modality: str,
    made: MadeFeatures,
    items: pl.DataFrame,
    counts: dict[str, int],
) -> None:
    if modality not in MODALITIES:
        raise InputError(f"features are of {', '.join(MODALITIES)}; found {modality!r}")
    checked = checked_features(modality, made.features, items["item_id"].to_list())
    features[modality], n_zero = with_mean_for_zero_rows(modality, checked)
    counts[f"items_with_the_mean_{modality}_vector"] = made.n_without_input + n_zero


def _sizes(numbered: _Numbered) -> dict[str, int]:
    rows = numbered.rows
    sizes = {name: int((rows["split"] == label).sum()) for label, name in enumerate(SPLIT_NAMES)}
    sizes["items_without_text"], sizes["items_without_picture"] = (
        int((numbered.items[name] == "").sum()) for name in ("text", "image")
    )
    sizes["cold_items"] = len(numbered.items) - rows["item_row"].n_unique()
    sizes["items_without_training_interaction"] = (
        len(numbered.items) - rows.filter(pl.col("split") == TRAIN)["item_row"].n_unique()
    )
    return sizes


def _held_out_notes(numbered: _Numbered) -> tuple[str, ...]:
    empty = [name for label, name in ((VALID, "validation"), (TEST, "test")) if label not in numbered.rows["split"]]
    if not empty:
        return ()
    why = "random and time hold out interactions of users with three or more (docs/data.md#splits)"
    return (f"nothing is held out for {' or '.join(empty)}, so there is nothing to measure; {why}",)


def _order_notes(source: Source, numbered: _Numbered) -> tuple[str, ...]:
    """A warning where the times only repeat the order of the item rows that the source gives."""
    if source.user_ids is None:  # rows are numbered by first appearance
        return ()
    rows = numbered.rows.drop_nulls("timestamp").sort("user_row", "timestamp", maintain_order=True)
    users, items = rows["user_row"].to_numpy(), rows["item_row"].to_numpy()
    upwards = np.diff(items)[np.diff(users) == 0] > 0
    if len(upwards) < FEWEST_STEPS or upwards.mean() < SUSPICIOUS_SHARE:
        return ()
    return (
        f"the times of {upwards.mean():.1%} of all steps follow the rows of the items: they may be places in a sorted"
        " list, and then a split by time measures nothing",
    )


@contextmanager
def _atomic_folder(out: Path) -> Iterator[Path]:
    """A new folder that replaces `out` when the block ends, and is removed when the block fails."""
    remove_leftovers(out.parent)
    with temporary_folder(out.parent) as temporary:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        sync_tree(new)
        if out.exists():
            out.rename(old)
        new.rename(out)
        sync(out.parent)


def _write_content(folder: Path, numbered: _Numbered, features: Mapping[str, FeatureArray]) -> None:
    numbered.rows.write_parquet(folder / "interactions.parquet")
    numbered.user_ids.to_frame("user_id").write_parquet(folder / "users.parquet")
    numbered.items.select(list(ITEM_COLUMNS)).write_parquet(folder / "items.parquet")
    for name, array in features.items():
        save_array(folder / "features" / f"{name}.npy", array)
