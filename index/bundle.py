"""The contract on disk between trainer and service: write a bundle, open one, verify one.

docs/bundle.md describes the files. A bundle is immutable: everything in it is covered by the sums in its manifest,
and the manifest by the bundle id.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from index.content import BundleContent, checked_arrays
from index.errors import InputError
from index.ids import IdTable, PackedStrings
from index.item_index import ItemIndex, measured_recall
from index.layout import Sizes, layout
from index.manifest import BUNDLE_ID, FORMAT, Manifest, digest_of, record_bytes
from index.storage import (
    files_under,
    map_array,
    save_array,
    sha256_of,
    sync_folder,
    sync_tree,
    temporary_folder,
    write_file,
)

__all__ = ["Bundle", "BundleContent", "BundleError", "Manifest", "open_bundle", "write_bundle"]

Array = np.ndarray[Any, Any]

MANIFEST = "manifest.json"
INDEX = "index/item.faiss"


class BundleError(InputError):
    """A bundle on disk that must not be served. The message says what was found and what was expected."""


@dataclass(frozen=True)
class Bundle:
    """An open bundle: every array a read-only memory map, with the names of BundleContent."""

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

    @property
    def bundle_id(self) -> str:
        """The id in the manifest."""
        return self.manifest.bundle_id

    def seen(self, user_row: int) -> Array:
        """The item rows that the user had in training, oldest first."""
        return self.seen_items[self.seen_offsets[user_row] : self.seen_offsets[user_row + 1]]

    def users_of(self, item_row: int) -> Array:
        """The user rows that had the item in training, ascending."""
        return self.seen_item_users[self.seen_item_offsets[item_row] : self.seen_item_offsets[item_row + 1]]

    def item(self, item_row: int) -> dict[str, Any]:
        """What a person sees of the item: title, category, attributes, image."""
        record: dict[str, Any] = json.loads(self.item_json(item_row))
        return record

    def item_json(self, item_row: int) -> bytes:
        """The same as the JSON object that is stored, for an answer that need not parse it."""
        return self.items[item_row]

    def index(self) -> ItemIndex:
        """The search structure, memory-mapped where FAISS can, scoring by the bundle's own embeddings."""
        return ItemIndex.read(self.path / INDEX, self.item_embeddings)


def write_bundle(registry_folder: Path, content: BundleContent, *, created_at: datetime, factory: str = "Flat") -> Path:
    """Check the content, write it under a temporary name, rename it when whole and durable; returns its path.

    The same content at the same second is the same bundle and is written once. InputError where the content or the
    factory is wrong, or the disk does not take it; then nothing is left behind.
    """
    arrays = checked_arrays(content)
    index = ItemIndex.build(content.item_embeddings, factory)
    record = _record(content, created_at)

    def fill(folder: Path) -> None:
        for name, array in arrays.items():
            save_array(folder / name, array)
        index.write(folder / INDEX)

    recall = measured_recall(index, content.item_embeddings, content.user_embeddings)
    described = {"factory": factory, "settings": index.settings, "recall": recall}
    return publishable(registry_folder, record | {"index": described}, fill)


def publishable(registry_folder: Path, record: dict[str, Any], fill: Callable[[Path], None]) -> Path:
    """Let `fill` write the files, add the sums and the bundle id to the manifest's record, and make it all durable."""
    with temporary_folder(registry_folder) as folder:
        fill(folder)
        record = record | {"files": {name: sha256_of(path) for name, path in files_under(folder).items()}}
        stamp = datetime.fromisoformat(record["created_at"]).strftime("%Y%m%dT%H%M%SZ")
        bundle_id = f"{stamp}-{record['model']}-{digest_of(record)}"
        write_file(folder / MANIFEST, record_bytes(record | {"bundle_id": bundle_id}))
        sync_tree(folder)
        path = registry_folder / bundle_id
        if not path.exists():
            folder.rename(path)
            sync_folder(registry_folder)
    return path


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Open a bundle by memory maps; BundleError where anything in it is not as its manifest says.

    Format, file list, dtypes and shapes are always checked; with verify also every file's sum, which reads it all.
    """
    manifest = read_manifest(path)
    _check_files(path, manifest)
    if verify:
        _check_sums(path, manifest)
    arrays = {name: _mapped(path, name) for name in manifest.files if name.endswith(".npy")}
    _check_layout(path, manifest, arrays)
    return _bundle(path, manifest, arrays)


def read_manifest(path: Path) -> Manifest:
    """The manifest alone; BundleError where it is missing, of another format, or edited."""
    try:
        text = (path / MANIFEST).read_bytes()
        record = json.loads(text)
    except OSError as error:
        raise BundleError(f"{path} has no readable {MANIFEST} ({error.strerror}); expected a bundle folder") from error
    except ValueError as error:
        raise BundleError(f"{path / MANIFEST} is no JSON ({error}); it is truncated or edited") from error
    _check_record(path, record)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path / MANIFEST}, {where}: {first['msg']}") from error


def _check_record(path: Path, record: object) -> None:
    found = record.get("format") if isinstance(record, dict) else type(record).__name__
    if found != FORMAT:
        raise BundleError(f"{path} has bundle format {found!r}; expected {FORMAT}")
    assert isinstance(record, dict)
    bundle_id = str(record.get("bundle_id"))
    if not BUNDLE_ID.fullmatch(bundle_id) or bundle_id[-8:] != digest_of(record):
        raise BundleError(
            f"{path / MANIFEST} says bundle {bundle_id!r}, but its content has the digest {digest_of(record)}; "
            "expected them to agree: it was edited"
        )


def _check_files(path: Path, manifest: Manifest) -> None:
    expected = {*layout(_sizes(manifest)), INDEX}
    if expected != set(manifest.files):
        names = ", ".join(sorted(expected ^ set(manifest.files)))
        raise BundleError(f"{path / MANIFEST} lists other files than a bundle of its parts has: {names}")
    found = set(files_under(path)) - {MANIFEST}
    for wrong, what in ((expected - found, "lacks"), (found - expected, "has, beyond its manifest,")):
        if wrong:
            raise BundleError(f"{path} {what} {', '.join(sorted(wrong))}; expected the manifest's files and no others")


def _check_sums(path: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        found = sha256_of(path / name)
        if found != expected:
            raise BundleError(f"{path / name} has sha256 {found}; expected {expected}: it is damaged or edited")


def _mapped(path: Path, name: str) -> Array:
    try:
        return map_array(path / name)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"{path / name} cannot be read ({error}); expected a whole .npy file") from error


def _check_layout(path: Path, manifest: Manifest, arrays: dict[str, Array]) -> None:
    for name, spec in layout(_sizes(manifest)).items():
        if not spec.admits(arrays[name]):
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise BundleError(f"{path / name} is {found}; expected {spec}")


def _sizes(manifest: Manifest) -> Sizes:
    return Sizes(
        n_users=manifest.n_users,
        n_items=manifest.n_items,
        n_interactions=manifest.n_interactions,
        embedding_size=manifest.embedding_size,
        parts=manifest.parts,
        neighbours=manifest.neighbours,
    )


def _record(content: BundleContent, created_at: datetime) -> dict[str, Any]:
    sizes = content.sizes
    record = {
        "format": FORMAT,
        "model": content.model,
        "config": dict(content.config),
        "data_fingerprint": content.data_fingerprint,
        "seed": content.seed,
        "metrics": {split: dict(values) for split, values in content.metrics.items()},
        "created_at": _utc(created_at),
        "n_users": sizes.n_users,
        "n_items": sizes.n_items,
        "n_interactions": sizes.n_interactions,
        "embedding_size": sizes.embedding_size,
        "parts": list(sizes.parts),
        "neighbours": list(sizes.neighbours),
    }
    return _checked_record(record)


def _checked_record(record: dict[str, Any]) -> dict[str, Any]:
    stand_ins = {"bundle_id": "20000101T000000Z-x-00000000", "index": {"factory": "Flat", "recall": {}}, "files": {}}
    try:
        text = record_bytes(record)
        Manifest.model_validate_json(record_bytes(record | stand_ins))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{where} is {first['input']!r:.80}: {first['msg']}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"config or metrics: {error}; expected what JSON can hold, without NaN") from error
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _utc(created_at: datetime) -> str:
    if created_at.tzinfo is None:
        raise InputError(f"created_at is {created_at.isoformat()} without a time zone; expected one, such as UTC")
    return created_at.astimezone(UTC).replace(microsecond=0).isoformat()


def _bundle(path: Path, manifest: Manifest, arrays: dict[str, Array]) -> Bundle:
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
    )
