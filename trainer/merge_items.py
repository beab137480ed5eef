"""Merges the stored items of a service into a prepared dataset: new ones, changed ones, deleted ones."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from index.attribute_types import AttributeType, fits, inferred_types
from trainer.data import ITEM_COLUMNS, MODALITIES, Dataset, read_info
from trainer.datasets.attributes import as_attributes
from trainer.datasets.encoding import AUTO, fused_step
from trainer.datasets.stored_items import StoredItems
from trainer.datasets.table_attributes import CATEGORIES
from trainer.features import FeatureArray
from trainer.item_features import ItemFeatures
from trainer.item_pictures import found_picture, is_picture_file
from trainer.prepare import FeatureStep

FUSED = "multimodal"
SHOWN = 80  # characters of a value
ITEM_COUNTS = ("new_items", "changed_items", "deleted_items", "pictures_not_found")


@dataclass(frozen=True)
class MergedItems:
    """The items of the new dataset, those of the old one first, and what makes their features."""

    items: pl.DataFrame  # ITEM_COLUMNS
    features: Mapping[str, FeatureArray]
    steps: Mapping[str, FeatureStep]
    attribute_types: Mapping[str, AttributeType]
    deleted: frozenset[str]
    counts: Mapping[str, int]
    notes: tuple[str, ...]


def merge_items(old: Dataset, stored: StoredItems, images: Path | None, cache: Path) -> MergedItems:
    """The old items with the words, pictures and attributes of the stored ones, without the deleted, and the new.

    The rules are in docs/retraining.md. InputError: ready features of another width than the data's.
    """
    typed = _typed_attributes(old, stored)
    merged = _joined(old, stored, typed.column, images)
    making = ItemFeatures(old, merged, stored, cache)
    is_fused = _is_fused(old) and _moved(old, merged, stored)
    features = {
        modality: making.of(modality)
        for modality in MODALITIES
        if modality in old.features and not (modality == FUSED and is_fused)
    }
    unused = tuple(
        f"stored items: {name} features are not used, because the data have none or make them of the others"
        for name, given in stored.features.items()
        if name not in features and given.count()
    )
    new = merged["old_row"].null_count()
    kept = len(merged) - new
    found = (new, int(merged["changed"].sum()), old.n_items - kept, _lost_pictures(merged))
    counts = dict(zip(ITEM_COUNTS, found, strict=True))
    return MergedItems(
        merged.select(list(ITEM_COLUMNS)),
        features,
        {FUSED: fused_step} if is_fused else {},
        typed.types,
        stored.deleted,
        {**counts, **making.told.counts, **typed.counts},
        (*typed.notes, *unused, *making.told.notes),
    )


@dataclass(frozen=True)
class _Typed:
    column: pl.Series
    types: Mapping[str, AttributeType]
    counts: Mapping[str, int]
    notes: tuple[str, ...]


def _typed_attributes(old: Dataset, stored: StoredItems) -> _Typed:
    """The attributes of the stored items without values of other types than the data's, which are named."""
    # A folder that an older version prepared records no types.
    known = old.attribute_types or inferred_types(map(json.loads, old.items["attributes"]))
    item_ids, records, strange = stored.items["item_id"].to_list(), [], []
    for item_id, record, categories in zip(item_ids, stored.attributes, stored.items["categories"], strict=True):
        whole = record | ({CATEGORIES: categories.to_list()} if len(categories) > 1 else {})
        wrong = [name for name, value in whole.items() if _is_of_another_type(value, known.get(name))]
        strange += [(item_id, name, whole[name]) for name in wrong]
        records.append({name: value for name, value in whole.items() if name not in wrong})
    made = as_attributes(item_ids, records, "stored items")
    types = {**made.types, **known}
    if not strange:
        return _Typed(made.column, types, made.counts, made.notes)
    item_id, name, value = strange[0]
    note = (
        f"stored items: {len(strange):,} attribute values of another type than the data's were left out; first {name}"
        f" of item {item_id[:SHOWN]!r}: {str(value)[:SHOWN]!r}, expected {known[name]}"
    )
    counts = {"attribute_values_of_another_type": len(strange)}
    return _Typed(made.column, types, {**counts, **made.counts}, (note, *made.notes))


def _is_of_another_type(value: Any, expected: AttributeType | None) -> bool:
    return value is not None and expected is not None and not fits(value, expected)


def _joined(old: Dataset, stored: StoredItems, attributes: pl.Series, images: Path | None) -> pl.DataFrame:
    """ITEM_COLUMNS of all items, their rows in the old data and among the stored items, and what has changed."""
    before = old.items.select(list(ITEM_COLUMNS)).with_row_index("old_row")
    columns = stored.items.select("item_id", "title", "category", "text", "image").with_columns(attributes)
    after = columns.rename({name: f"new_{name}" for name in columns.columns if name != "item_id"})
    together = (
        before.filter(~pl.col("item_id").is_in(list(stored.deleted)))
        .join(after.with_row_index("stored_row"), on="item_id", how="full", coalesce=True, maintain_order="left_right")
        .with_columns(_given_text().alias("new_text"))
    )
    pictures = [
        None if reference is None else found_picture(reference, image or "", images)
        for reference, image in together.select("new_image", "image").iter_rows()
    ]
    together = together.with_columns(pl.Series("new_image", pictures, dtype=pl.String))
    names = ("title", "category", "text", "image", "attributes")
    differs = {name: pl.col(f"new_{name}").ne_missing(pl.col(name)) & _is_stored() for name in names}
    is_new = pl.col("old_row").is_null()
    return together.with_columns(
        (pl.any_horizontal(*differs.values()) & ~is_new).alias("changed"),
        *(differs[name].alias(f"{name}_changed") for name in ("text", "image")),
        *(pl.coalesce(f"new_{name}", name).alias(name) for name in names),
    )


def _is_stored() -> pl.Expr:
    return pl.col("stored_row").is_not_null()


def _given_text() -> pl.Expr:
    """The words to encode: without any, those that the item had under the same title, else its title."""
    same_title = pl.col("new_title").eq(pl.col("title")).fill_null(value=False)
    without = pl.when(same_title).then("text").otherwise("new_title")
    return pl.when(pl.col("new_text") == "").then(without).otherwise("new_text")


def _lost_pictures(merged: pl.DataFrame) -> int:
    """How many stored items name a picture that is not on this machine."""
    named = merged.filter(_is_stored() & (pl.col("image") != ""))["image"]
    return sum(not is_picture_file(image) for image in named)


def _moved(old: Dataset, merged: pl.DataFrame, stored: StoredItems) -> bool:
    """Whether any item's text or image features may be others than before, or there are other items."""
    changed = (
        merged["text_changed"].any()
        or merged["image_changed"].any()
        or any(given.count() for given in stored.features.values())
    )
    return bool(changed) or merged["item_id"].to_list() != old.item_ids


def _is_fused(old: Dataset) -> bool:
    """Whether `prepare` made the multimodal features out of the others."""
    source = read_info(old.path).source
    first = source["first"]["source"] if "first" in source else source
    return FUSED in old.features and {"text", "image"} <= old.features.keys() and first.get("fused") == AUTO
