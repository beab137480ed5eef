"""Opens and verifies a bundle, the folder that passes from trainer to service.

docs/bundle.md describes the files. A bundle is immutable: the manifest has the sum of every other file, and the bundle
id a digest of the manifest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.content import BundleContent
from index.ids import IdTable, PackedStrings
from index.item_index import ItemIndex
from index.layout import layout
from index.manifest import INDEX, MANIFEST, BundleError, Manifest, check_file_names, read_manifest
from index.storage import files_under, map_array, read_array, sha256_of
from index.writing import write_bundle

__all__ = ["Bundle", "BundleContent", "BundleError", "Manifest", "open_bundle", "read_manifest", "write_bundle"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Bundle:
    """An open bundle. Its arrays are read-only memory maps (or in memory) and have the names of BundleContent."""

    path: Path
    manifest: Manifest
    user_ids: IdTable
    item_ids: IdTable
    user_embeddings: Array  # (n_users, d)
    item_embeddings: Array  # (n_items, d)
    item_parts: Mapping[str, Array]  # each (n_items, d)
    fold_in: Array  # (n_items, d)
    user_own: Array  # (n_users, d)
    seen_offsets: Array  # (n_users + 1,)
    seen_items: Array  # (n_interactions,)
    seen_item_offsets: Array  # (n_items + 1,)
    seen_item_users: Array  # (n_interactions,)
    popularity_count: Array  # (n_items,)
    popularity_trend: Array  # (n_items,)
    neighbours: Mapping[str, Array]  # each (n_items, width) float16
    items: PackedStrings
    mapped: bool = True  # False: the arrays are in memory

    @property
    def bundle_id(self) -> str:
        return self.manifest.bundle_id

    def seen(self, user_row: int) -> Array:
        """The item rows that the user had in training, oldest first."""
        return self.seen_items[self.seen_offsets[user_row] : self.seen_offsets[user_row + 1]]

    def users_of(self, item_row: int) -> Array:
        """The user rows that had the item in training, ascending."""
        return self.seen_item_users[self.seen_item_offsets[item_row] : self.seen_item_offsets[item_row + 1]]

    def item(self, item_row: int) -> dict[str, Any]:
        """The item's metadata: title, category, attributes, image."""
        record: dict[str, Any] = json.loads(self.item_json(item_row))
        return record

    def item_json(self, item_row: int) -> bytes:
        """The item's metadata as stored JSON, for responses that pass it through unparsed."""
        return self.items[item_row]

    def index(self) -> ItemIndex:
        """Read the search index, memory-mapped where bundle and FAISS allow; it scores by the bundle's embeddings."""
        return ItemIndex.read(self.path / INDEX, self.item_embeddings, mapped=self.mapped)

    def arrays(self) -> dict[str, Array]:
        """Every array by its file name: arrays that any request reads come first, arrays that grow with users last."""
        tables = {"user_ids": self.user_ids, "item_ids": self.item_ids}
        ids = {f"{name}/{stem}.npy": array for name, table in tables.items() for stem, array in table.arrays().items()}
        return {
            "item_embeddings.npy": self.item_embeddings,
            "fold_in.npy": self.fold_in,
            **{f"item_parts/{name}.npy": part for name, part in self.item_parts.items()},
            **{f"items/{stem}.npy": array for stem, array in self.items.arrays().items()},
            "popularity/count.npy": self.popularity_count,
            "popularity/trend.npy": self.popularity_trend,
            **{f"neighbours/{name}.npy": rows for name, rows in self.neighbours.items()},
            **ids,
            "seen/user_offsets.npy": self.seen_offsets,
            "user_embeddings.npy": self.user_embeddings,
            "seen/user_items.npy": self.seen_items,
            "user_own.npy": self.user_own,
            "seen/item_offsets.npy": self.seen_item_offsets,
            "seen/item_users.npy": self.seen_item_users,
        }


def open_bundle(path: Path, *, verify: bool = True, mapped: bool = True) -> Bundle:
    """Open a bundle; BundleError where a file differs from what the manifest says.

    Format, file list, dtypes and shapes are always checked; with verify also every file's sum, which reads all files.
    mapped=False reads all arrays into memory, so that later damage of the files does not matter.
    """
    manifest = read_manifest(path)
    _check_files(path, manifest)
    if verify:
        check_sums(path, manifest)
    arrays = {name: _array(path, name, mapped=mapped) for name in manifest.files if name.endswith(".npy")}
    _check_layout(path, manifest, arrays)
    return _bundle(path, manifest, arrays, mapped=mapped)


def _check_files(path: Path, manifest: Manifest) -> None:
    check_file_names(manifest, str(path))
    expected, found = set(manifest.files), set(files_under(path)) - {MANIFEST}
    for wrong, what in ((expected - found, "lacks"), (found - expected, "has, beyond its manifest,")):
        if wrong:
            raise BundleError(f"{path} {what} {', '.join(sorted(wrong))}; expected the manifest's files and no others")


def check_sums(path: Path, manifest: Manifest) -> None:
    """Read every file; BundleError on the first whose sum differs from the manifest's."""
    for name, expected in manifest.files.items():
        found = sha256_of(path / name)
        if found != expected:
            raise BundleError(f"{path / name} has sha256 {found}; expected {expected}: the file is damaged or edited")


def _array(path: Path, name: str, *, mapped: bool) -> Array:
    try:
        return map_array(path / name) if mapped else read_array(path / name)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"{path / name} cannot be read ({error}); expected a whole .npy file") from error


def _check_layout(path: Path, manifest: Manifest, arrays: dict[str, Array]) -> None:
    for name, spec in layout(manifest.sizes).items():
        if not spec.matches(arrays[name]):
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise BundleError(f"{path / name} is {found}; expected {spec}")


def _bundle(path: Path, manifest: Manifest, arrays: dict[str, Array], *, mapped: bool) -> Bundle:
    def below(folder: str) -> dict[str, Array]:
        return {Path(name).stem: array for name, array in arrays.items() if name.startswith(f"{folder}/")}

    seen, popularity, items = below("seen"), below("popularity"), below("items")
    return Bundle(
        path=path,
        manifest=manifest,
        user_ids=IdTable.from_arrays(below("user_ids")),
        item_ids=IdTable.from_arrays(below("item_ids")),
        user_embeddings=arrays["user_embeddings.npy"],
        item_embeddings=arrays["item_embeddings.npy"],
        item_parts=below("item_parts"),
        fold_in=arrays["fold_in.npy"],
        user_own=arrays["user_own.npy"],
        seen_offsets=seen["user_offsets"],
        seen_items=seen["user_items"],
        seen_item_offsets=seen["item_offsets"],
        seen_item_users=seen["item_users"],
        popularity_count=popularity["count"],
        popularity_trend=popularity["trend"],
        neighbours=below("neighbours"),
        items=PackedStrings(items["bytes"], items["offsets"]),
        mapped=mapped,
    )
