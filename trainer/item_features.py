"""Features of new and changed items: given ones, else encoded as the data set's features were."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.data import Dataset, EncoderName
from trainer.datasets.stored_items import StoredItems
from trainer.features import FeatureArray

BATCH_SIZE = 64
SHOWN_IDS = 5
INPUTS: dict[str, str] = {"text": "text", "image": "image"}
"""The column of items that a modality's features are encoded from."""


@dataclass
class FeatureCounts:
    """What became of the features of new and changed items."""

    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def missing(self, modality: str, why: str, item_ids: Sequence[str]) -> None:
        """Count items that keep the features they had, new ones the mean, and name some."""
        if item_ids:
            name = f"items_without_new_{modality}_features"
            self.counts[name] = self.counts.get(name, 0) + len(item_ids)
            shown = ", ".join(repr(item_id[:80]) for item_id in item_ids[:SHOWN_IDS])
            self.notes.append(f"no new {modality} features for {len(item_ids):,} items: {why}; {shown}")


@dataclass(frozen=True)
class ItemFeatures:
    """Makes the features of merged items.

    `merged` has for each item `item_id`, its `old_row` and `stored_row` (null: none), its text and image, and whether
    they changed (`text_changed`, `image_changed`).
    """

    old: Dataset
    merged: pl.DataFrame
    stored: StoredItems
    cache: Path
    told: FeatureCounts = field(default_factory=FeatureCounts)

    def of(self, modality: str) -> FeatureArray:
        """One modality's features (n, width); zeros where an item has none.

        Ready features win; else what changed is encoded. Where that cannot be, an item keeps what it had before.
        """
        before, old_rows = self.old.features[modality], self._rows("old_row")
        features = np.zeros((len(self.merged), before.shape[1]), before.dtype)
        features[old_rows >= 0] = before[old_rows[old_rows >= 0]]
        given = self._take_given(features, modality)
        if modality in INPUTS:
            self._encode(features, modality, self.merged[f"{modality}_changed"].to_numpy() & ~given)
        else:
            new = self.merged["item_id"].filter(pl.Series((old_rows < 0) & ~given)).to_list()
            self.told.missing(modality, "they are neither given nor made of others", new)
        return features

    def _rows(self, name: str) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = self.merged[name].cast(pl.Int64).fill_null(-1).to_numpy()
        return rows

    def _take_given(self, features: FeatureArray, modality: str) -> NDArray[np.bool_]:
        """Set the ready features; returns which items have them."""
        rows, ready = self.stored.ready(modality, features.shape[1])
        places = np.full(len(self.stored.items) + 1, -1, np.intp)  # the last is that of items that are not stored
        places[rows] = np.arange(len(rows))
        place = places[self._rows("stored_row")]
        features[place >= 0] = ready[place[place >= 0]]
        if len(rows):
            self.told.counts[f"{modality}_features_given"] = len(rows)
        return place >= 0

    def _encode(self, features: FeatureArray, modality: str, changed: NDArray[np.bool_]) -> None:
        """Encode the changed inputs in place; an input that is gone leaves zeros."""
        inputs = self.merged[INPUTS[modality]]
        is_blank = (inputs == "").to_numpy()
        features[changed & is_blank] = 0
        rows = np.flatnonzero(changed & ~is_blank)
        if not len(rows):
            return
        rows = self._take_encoded(features, modality, rows)
        if not len(rows):
            return
        encoder = cast(Literal["text", "image"], modality)
        encoded = _encoded(encoder, self.old.encoders.get(modality), inputs.gather(rows).to_list(), self.cache)
        if isinstance(encoded, str):
            self.told.missing(modality, encoded, self.merged["item_id"].gather(rows).to_list())
            return
        vectors, present = encoded
        features[rows[present]] = vectors[present]
        self.told.counts[f"{modality}_features_encoded"] = int(present.sum())
        lacking = self.merged["item_id"].gather(rows[~present]).to_list()
        self.told.missing(modality, "what they name is no file that can be read here; URLs are not fetched", lacking)

    def _take_encoded(self, features: FeatureArray, modality: str, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Set what the service has encoded as this data set's encoder would; returns the other rows."""
        made_by = self.old.encoders.get(modality)
        if modality != "image" or made_by is None:
            return rows
        ready = self.stored.encoded_pictures(f"{made_by.name} {made_by.version}", features.shape[1])
        stored_rows = self._rows("stored_row")[rows]
        has = np.array([row in ready for row in stored_rows.tolist()], np.bool_)
        for row, stored_row in zip(rows[has], stored_rows[has].tolist(), strict=True):
            features[row] = ready[stored_row]
        if has.any():
            self.told.counts["image_features_encoded_by_the_service"] = int(has.sum())
        return rows[~has]


def _encoded(
    modality: Literal["text", "image"], made_by: EncoderName | None, inputs: Sequence[str], cache: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | str:
    """Features (n, width), zeros where an input cannot be read, and where they are (n,); or why none can be made."""
    if made_by is None:
        return "dataset.json names no encoder of them (they were given, or prepared by an older version)"
    from trainer.device import choose_device  # noqa: PLC0415 - torch takes seconds to import
    from trainer.encoders import image_encoder, text_encoder  # noqa: PLC0415
    from trainer.encoders.encode import encode_readable  # noqa: PLC0415

    device = str(choose_device("auto"))
    encoder = (text_encoder if modality == "text" else image_encoder)(made_by.name, device)
    if encoder.version != made_by.version:
        return f"{made_by.name} of version {made_by.version} made the others, and {encoder.version} is installed"
    return encode_readable(inputs, encoder, cache=cache, batch_size=BATCH_SIZE)
