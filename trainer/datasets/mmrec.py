"""MMRec's layout (docs/data.md#mmrecs-layout): integer ids, given labels, features whose rows are the item ids."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index.errors import InputError
from trainer.data import Source
from trainer.datasets.ids import as_ids
from trainer.datasets.item_table import ItemTable, ItemTableOptions, items_of, read_item_table
from trainer.datasets.joining import meeting_note
from trainer.datasets.reading import read_table
from trainer.datasets.separated import TextFormat
from trainer.datasets.times import AUTO, TimeOptions, read_times
from trainer.features import load_features

FEATURE_FILES = {"image": "image_feat.npy", "text": "text_feat.npy"}


def read(
    folder: Path,
    *,
    multimodal: Path | None = None,
    items: ItemTableOptions | None = None,
    images: Path | None = None,
    encoding: str | None = None,
    times: TimeOptions = AUTO,
) -> Source:
    """Users and items keep their integers as rows; outside ids come from the mapping files where these are there.

    `multimodal` is a folder whose image_feat.npy holds the fused features, or a file of them. `items` describes the
    items by their outside ids; `images` is for when there is no such table.
    """
    inter = _inter_file(folder)
    table = _read_inter(inter, encoding)
    user_ids = _outside_ids(folder / "u_id_mapping.csv", "userID", table["userID"], encoding)
    item_ids = _outside_ids(folder / "i_id_mapping.csv", "itemID", table["itemID"], encoding)
    read = read_times(table["timestamp"], times)
    described = _described(item_ids, read_item_table(items)) if items else items_of(item_ids, images)
    return Source(
        name=inter.stem,
        interactions=pl.DataFrame(
            {
                "user_id": user_ids.gather(table["userID"]),
                "item_id": item_ids.gather(table["itemID"]),
                "rating": table["rating"].cast(pl.Float32, strict=False),
                "timestamp": read.seconds,
                "split": table["x_label"].cast(pl.Int8, strict=False),
            }
        ),
        items=described.items,
        features=_features(folder, multimodal),
        user_ids=user_ids.to_list(),
        options={
            "reader": "mmrec",
            "folder": folder,
            "multimodal": multimodal,
            "items": asdict(items) if items else None,
            "images": images,
        },
        counts={"interactions_read": len(table)} | described.counts,
        notes=read.notes + described.notes,
        attribute_types=described.attribute_types,
    )


def _inter_file(folder: Path) -> Path:
    found = sorted(folder.glob("*.inter"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(f"{folder}: expected one .inter file, found {names}")
    return found[0]


def _read_inter(file: Path, encoding: str | None) -> pl.DataFrame:
    table = _read_tabs(file, encoding)
    if missing := {"userID", "itemID"} - set(table.columns):
        raise InputError(f"{file} has no column {', '.join(sorted(missing))}; it has: {', '.join(table.columns)}")
    if table.is_empty():
        raise InputError(f"{file} has no interactions")
    absent = [name for name in ("rating", "timestamp", "x_label") if name not in table.columns]
    rows = [_integers(file, table[name]) for name in ("userID", "itemID")]
    return table.with_columns(*rows, *(pl.lit(None, pl.String).alias(name) for name in absent))


def _read_tabs(file: Path, encoding: str | None) -> pl.DataFrame:
    return read_table(file, TextFormat(delimiter="\t", encoding=encoding, quotes=False)).frame


def _integers(file: Path, column: pl.Series) -> pl.Series:
    integers = column.cast(pl.Int64, strict=False)
    bad = column.filter(integers.is_null() | (integers < 0))
    if len(bad):
        raise InputError(f"{file}: {column.name} must be integers from 0 on; {len(bad):,} are not, first {bad[0]!r}")
    return integers


def _outside_ids(mapping: Path, key: str, rows: pl.Series, encoding: str | None) -> pl.Series:
    """The outside id of every integer up to the largest used; the integer itself where there is no mapping."""
    n = int(rows.max()) + 1  # type: ignore[arg-type]
    if not mapping.is_file():
        return pl.Series(np.arange(n)).cast(pl.String)
    table = _read_tabs(mapping, encoding)
    others = [name for name in table.columns if name != key]
    if len(others) != 1 or key not in table.columns:
        raise InputError(f"{mapping}: expected {key} and one other column, tab-separated, found {table.columns}")
    pairs = table.select(row=_integers(mapping, table[key]), id=as_ids(table[others[0]]))
    ids = pl.DataFrame({"row": np.arange(n)}).join(pairs, on="row", how="left", maintain_order="left")["id"]
    if len(ids) != n or ids.has_nulls() or ids.is_duplicated().any():
        raise InputError(f"{mapping} must name each of {n:,} {key} once; {ids.drop_nulls().n_unique():,} are named")
    return ids


def _described(item_ids: pl.Series, table: ItemTable) -> ItemTable:
    """The items in row order, with what the item table knows of them; what it knows of others is left out."""
    rows = item_ids.alias("item_id").to_frame()
    counts = {
        "items_missing_in_the_item_table": int((~rows["item_id"].is_in(table.items["item_id"].implode())).sum()),
        "described_items_not_in_the_layout": int((~table.items["item_id"].is_in(item_ids.implode())).sum()),
    }
    note = meeting_note("items of the layout", item_ids, table.items["item_id"], "in the item table")
    items = rows.join(table.items, on="item_id", how="left", maintain_order="left")
    return ItemTable(items, table.counts | counts, (*table.notes, note), table.attribute_types)


def _features(folder: Path, multimodal: Path | None) -> dict[str, NDArray[np.floating]]:
    files = {modality: folder / name for modality, name in FEATURE_FILES.items() if (folder / name).is_file()}
    if multimodal is not None:
        files["multimodal"] = multimodal / FEATURE_FILES["image"] if multimodal.is_dir() else multimodal
    return {modality: load_features(file) for modality, file in files.items()}
