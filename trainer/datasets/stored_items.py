"""Reads the items of the service's store, as `python -m service export-items` writes them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index.errors import InputError
from index.reading import open_file
from trainer.data import MODALITIES
from trainer.parquet import PARSER_ERRORS, first_line

COLUMNS: dict[str, pl.DataType] = {
    **dict.fromkeys(("item_id", "title", "category", "text", "image", "attributes"), pl.String()),
    "categories": pl.List(pl.String()),
    "available": pl.Boolean(),
    "created_at": pl.Float64(),
    "updated_at": pl.Float64(),
}
DELETED = "deleted"
FEATURES = {modality: f"features_{modality}" for modality in MODALITIES}
ENCODED, ENCODER = "encoded_image", "image_encoder"
"""Features of a picture that the service encoded, and the name and version of its encoder."""
ROW = pl.List(pl.Float32())
SHOWN = 80  # characters of an id


@dataclass(frozen=True)
class StoredItems:
    """The items of the store, each once, and the ids of those that were deleted."""

    items: pl.DataFrame
    """item_id, title, category, text, image (as it was given; "" where there is none), categories"""
    attributes: list[dict[str, Any]]
    """Of each item."""
    deleted: frozenset[str]
    features: Mapping[str, pl.Series]
    """Ready features by modality, a list of numbers an item, null where none were given."""

    def ready(self, modality: str, width: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The rows of `items` with ready features (k,), and these (k, width). InputError: another width, no number."""
        given = self.features.get(modality)
        if given is None:
            return np.zeros(0, np.intp), np.zeros((0, width), np.float32)
        rows = np.flatnonzero(given.is_not_null().to_numpy())
        lists = given.drop_nulls()
        if len(wrong := np.flatnonzero((lists.list.len() != width).to_numpy())):
            found = f"{self._id(rows[wrong[0]])} has {len(lists[int(wrong[0])]):,} numbers in {FEATURES[modality]}"
            raise InputError(f"{found}; expected {width:,}, as the {modality} features of the data have")
        array = lists.explode().to_numpy().astype(np.float32).reshape(len(rows), width) if len(rows) else None
        if array is None:
            return rows, np.zeros((0, width), np.float32)
        if len(bad := np.flatnonzero(~np.isfinite(array).all(axis=1))):
            raise InputError(f"{self._id(rows[bad[0]])} has NaN or infinite values in {FEATURES[modality]}")
        return rows, array

    def encoded_pictures(self, encoder: str, width: int) -> dict[int, list[float]]:
        """By row, features of this width that the service made by this encoder."""
        if not {ENCODED, ENCODER} <= set(self.items.columns):
            return {}
        made = self.items.with_row_index("row").filter(
            (pl.col(ENCODER) == encoder) & (pl.col(ENCODED).list.drop_nulls().list.len() == width)
        )
        return dict(made.select("row", ENCODED).iter_rows())

    def _id(self, row: int) -> str:
        return f"item {self.items['item_id'][int(row)][:SHOWN]!r}"


def item_files(path: Path) -> list[Path]:
    """The file itself, or the .parquet files of a folder by name; InputError where there is none."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise InputError(f"no such file of items, nor a folder with .parquet files: {path}")
    return files


def read_stored_items(path: Path) -> StoredItems:
    """Read one file, or a folder of files, of which a later name has the newer state of an item.

    InputError: no such file, no Parquet, a column missing or of another type, an id missing or twice in a file,
    attributes that are no JSON object.
    """
    everything = pl.concat([_read(file) for file in item_files(path)], how="diagonal_relaxed")
    latest = everything.unique("item_id", keep="last", maintain_order=True)
    gone = latest.filter(DELETED)["item_id"].to_list()
    items = latest.filter(~pl.col(DELETED)).with_columns(
        pl.col("title", "category", "text", "image").fill_null(""), pl.col("categories").fill_null([])
    )
    records = [_record(item_id, text) for item_id, text in items.select("item_id", "attributes").iter_rows()]
    features = {modality: items[name] for modality, name in FEATURES.items() if name in items.columns}
    return StoredItems(items.drop("attributes"), records, frozenset(gone), features)


def _read(file: Path) -> pl.DataFrame:
    try:
        with open_file(file) as content:
            schema = pl.read_parquet_schema(content)
            if missing := [name for name in COLUMNS if name not in schema]:
                raise InputError(f"it lacks the columns {', '.join(missing)}; found {', '.join(schema)}")
            types = COLUMNS | {DELETED: pl.Boolean(), ENCODER: pl.String()}
            types |= dict.fromkeys((*FEATURES.values(), ENCODED), ROW)
            _check_types(schema, types)
            content.seek(0)
            written = pl.read_parquet(content, columns=[name for name in types if name in schema])
        items = written.cast({name: types[name] for name in written.columns})
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except PARSER_ERRORS as error:
        raise InputError(f"{file} cannot be read as exported items: {first_line(error)}") from error
    _check_ids(file, items["item_id"])
    deleted = pl.col(DELETED).fill_null(value=False) if DELETED in items.columns else pl.lit(value=False)
    return items.with_columns(deleted.alias(DELETED))


def _check_types(schema: Mapping[str, pl.DataType], expected: Mapping[str, Any]) -> None:
    """Refuse what polars would turn into something else than was meant."""
    for name, found in schema.items():
        wanted = expected.get(name)
        if wanted is None or found in (wanted, pl.Null):
            continue
        is_rows = wanted == ROW and isinstance(found, pl.List | pl.Array) and found.inner.is_numeric()
        is_number = wanted == pl.Float64 and found.is_numeric()
        if not (is_rows or is_number):
            kind = "lists of numbers" if wanted == ROW else str(wanted)
            raise InputError(f"column {name!r} holds {found}; expected {kind}")


def _check_ids(file: Path, ids: pl.Series) -> None:
    if lacking := int((ids.is_null() | (ids == "")).sum()):
        raise InputError(f"{file}: {lacking:,} of {len(ids):,} items have no item_id; expected one for each")
    if twice := ids.filter(ids.is_duplicated()).unique(maintain_order=True).to_list():
        raise InputError(f"{file}: {len(twice):,} item ids are there more than once, first {twice[0][:SHOWN]!r}")


def _record(item_id: str, text: str | None) -> dict[str, Any]:
    try:
        record = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"item {item_id[:SHOWN]!r}: its attributes are no JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"item {item_id[:SHOWN]!r}: its attributes are a JSON {type(record).__name__}, no object")
    return record
