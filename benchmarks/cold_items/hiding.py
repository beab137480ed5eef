"""Hides a share of a prepared dataset's items: writes the dataset without them, as if they did not exist yet."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from index.errors import InputError
from index.storage import sha256_of, temporary_folder

Array = np.ndarray[Any, Any]

INFO = "dataset.json"
TABLES = ("interactions.parquet", "users.parquet", "items.parquet")
TRAIN = 0  # the split of training interactions


@dataclass(frozen=True)
class PreparedData:
    """A folder made by `python -m trainer prepare`; rows count users and items from 0."""

    path: Path
    info: dict[str, Any]
    interactions: pl.DataFrame  # user_row, item_row, rating, timestamp, split
    user_ids: list[str]
    items: pl.DataFrame  # item_id, title, category, text, image, attributes
    features: dict[str, Array]  # (n_items, width) by modality

    @property
    def n_items(self) -> int:
        return len(self.items)

    def pairs(self, *, train: bool) -> tuple[Array, Array]:
        """User and item rows of the training interactions, or of the held-out ones."""
        chosen = self.interactions.filter((pl.col("split") == TRAIN) == train)
        return chosen["user_row"].to_numpy(), chosen["item_row"].to_numpy()


def open_prepared(path: Path) -> PreparedData:
    """Open the folder; InputError where it is none."""
    if not (path / INFO).is_file():
        raise InputError(f"{path}: found no {INFO}, expected a folder made by `python -m trainer prepare`")
    info = json.loads((path / INFO).read_bytes())
    interactions, users, items = (pl.read_parquet(path / name) for name in TABLES)
    features = {name: np.load(path / "features" / f"{name}.npy", mmap_mode="r") for name in info["features"]}
    return PreparedData(path, info, interactions, users["user_id"].to_list(), items, features)


def hidden_rows(n_items: int, share: float, seed: int) -> Array:
    """The rows of the hidden items, ascending: this share of all, drawn by the seed."""
    rng = np.random.default_rng(seed)
    rows: Array = np.sort(rng.choice(n_items, max(1, round(share * n_items)), replace=False))
    return rows


def write_without(data: PreparedData, hidden: Array, out: Path) -> None:
    """Write the dataset without these items and their interactions; users and splits stay as they are."""
    kept = np.setdiff1d(np.arange(data.n_items), hidden)
    new_row = np.full(data.n_items, -1, np.int32)
    new_row[kept] = np.arange(len(kept), dtype=np.int32)
    rows = data.interactions.with_columns(pl.Series("item_row", new_row[data.interactions["item_row"].to_numpy()]))
    rows = rows.filter(pl.col("item_row") >= 0)
    with temporary_folder(out.parent) as folder:
        (folder / "features").mkdir()
        rows.write_parquet(folder / "interactions.parquet")
        pl.DataFrame({"user_id": data.user_ids}).write_parquet(folder / "users.parquet")
        data.items[kept].write_parquet(folder / "items.parquet")
        for name, features in data.features.items():
            np.save(folder / "features" / f"{name}.npy", features[kept])
        changed = {"n_items": len(kept), "n_interactions": len(rows), "fingerprint": _fingerprint(folder, data)}
        (folder / INFO).write_text(json.dumps(data.info | changed, indent=2))
        folder.rename(out)


def _fingerprint(folder: Path, data: PreparedData) -> str:
    """As the trainer computes it: sha256 over the names and the content of every file but dataset.json."""
    digest = hashlib.sha256()
    for name in (*TABLES, *(f"features/{modality}.npy" for modality in sorted(data.features))):
        digest.update(name.encode() + bytes.fromhex(sha256_of(folder / name)))
    return digest.hexdigest()
