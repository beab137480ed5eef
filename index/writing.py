"""Writes bundles: checks the content, writes it under a temporary name, and renames it when whole and durable."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from index.auto.build import IndexData, Tell, index_record, make_index
from index.auto.choice import AUTO, AutoLimits
from index.content import BundleContent, checked_arrays
from index.errors import BundleError, InputError
from index.manifest import FORMAT, INDEX, MANIFEST, Manifest, digest_of, manifest_bytes, read_manifest
from index.probing.probed_indexes import trust_own
from index.storage import files_under, save_array, sha256_of, sync, sync_tree, temporary_folder
from index.tables import Precision, pack_table, stored_arrays, table_error, table_of
from index.validation import explained

Array = np.ndarray[Any, Any]


def write_bundle(
    registry_folder: Path,
    content: BundleContent,
    *,
    created_at: datetime,
    factory: str = AUTO,
    limits: AutoLimits | None = None,
    precision: Precision = "float32",
    tell: Tell | None = None,
) -> Path:
    """Write a bundle into the registry's folder and return its path.

    factory: of FAISS, or `auto`, which chooses an index within `limits` and calls `tell` with what it tries next.
    All tables of vectors but the item embeddings are rounded to `precision`; the manifest tells by how much.

    The same content with the same `created_at` is the same bundle and is written once; with `auto`, whose manifest
    holds measured times, the bundle that was written first stays. InputError where the content or the factory is
    invalid, or writing fails; then no file is left behind.
    """
    arrays, errors = _rounded(checked_arrays(content), content.sizes.tables, precision)
    users = table_of("user_embeddings.npy", arrays)
    index, info = make_index(IndexData(content.item_embeddings, users, content.seen), factory, limits, tell)
    record = _record(content, created_at) | {"tables": {"precision": precision, "errors": errors}}

    def fill(folder: Path) -> None:
        for name, array in arrays.items():
            save_array(folder / name, array)
        index.write(folder / INDEX)

    return write_bundle_folder(registry_folder, record | {"index": index_record(info)}, fill)


def write_bundle_folder(registry_folder: Path, record: dict[str, Any], fill: Callable[[Path], None]) -> Path:
    """Write a bundle's folder: `fill` writes the files, then follow sums, bundle id, manifest, fsync and the rename."""
    with temporary_folder(registry_folder) as folder:
        fill(folder)
        record = record | {"files": {name: sha256_of(path) for name, path in files_under(folder).items()}}
        stamp = datetime.fromisoformat(record["created_at"]).strftime("%Y%m%dT%H%M%SZ")
        name = f"{stamp}-{record['model']}"
        bundle_id = f"{name}-{digest_of(record)}"
        (folder / MANIFEST).write_bytes(manifest_bytes(record | {"bundle_id": bundle_id}))
        sync_tree(folder)
        path = _chosen_before(registry_folder, name, record) or registry_folder / bundle_id
        if not path.exists():
            folder.rename(path)
            sync(registry_folder)
    trust_own(record["files"][INDEX])
    return path


def _chosen_before(registry_folder: Path, name: str, record: dict[str, Any]) -> Path | None:
    """The bundle of this time, content and promise, whose index was chosen: measured times give it another id."""
    for path in sorted(registry_folder.glob(f"{name}-*")) if record["index"].get("tried") else ():
        try:
            manifest = read_manifest(path)
        except BundleError:
            continue
        if manifest.index.tried and _content(json.loads((path / MANIFEST).read_bytes())) == _content(record):
            return path
    return None


def _content(record: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says but for the index, of which only the promise remains."""
    files = {name: found for name, found in record["files"].items() if name != INDEX}
    rest = {name: value for name, value in record.items() if name != "bundle_id"}
    return rest | {"index": record["index"].get("promised"), "files": files}


def _rounded(
    arrays: dict[str, Array], tables: Sequence[str], precision: Precision
) -> tuple[dict[str, Array], dict[str, float]]:
    """The arrays with these tables rounded, and the error of each; InputError where rounding changes a row too much."""
    if precision == "float32":
        return arrays, {}
    rounded, errors = dict(arrays), {}
    for file in tables:
        table = pack_table(arrays[file], precision)
        errors[file.removesuffix(".npy")] = table_error(file, arrays[file], table)
        rounded |= stored_arrays(file, table)
    return rounded, errors


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
        "events_position": content.events_position,
        "fold_in": "exact" if content.fold_in_exact else "approximate",
        "recency": None if content.recency is None else content.recency.model_dump(),
        "user_own": sizes.user_own,
        "anchor": None if content.anchor is None else content.anchor.info.model_dump(),
        "attribute_types": dict(content.attribute_types),
        "encoders": {modality: encoder.model_dump() for modality, encoder in content.encoders.items()},
        "forgotten": sorted(content.forgotten),
        "n_users": sizes.n_users,
        "n_items": sizes.n_items,
        "n_interactions": sizes.n_interactions,
        "embedding_size": sizes.embedding_size,
        "parts": list(sizes.parts),
        "neighbours": list(sizes.neighbours),
        "projections": dict(sizes.projections),
        "map": None if content.map is None else content.map.info.model_dump(),
    }
    return _checked_record(record)


def _checked_record(record: dict[str, Any]) -> dict[str, Any]:
    placeholders = {"bundle_id": "20000101T000000Z-x-00000000", "index": {"factory": "Flat", "recall": {}}, "files": {}}
    try:
        text = manifest_bytes(record)
        Manifest.model_validate_json(manifest_bytes(record | placeholders))
    except ValidationError as error:
        raise InputError(explained(error)) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"config or metrics: {error}; expected what JSON can hold, without NaN") from error
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _utc(created_at: datetime) -> str:
    if created_at.tzinfo is None:
        raise InputError(f"created_at is {created_at.isoformat()} without a time zone; expected one, such as UTC")
    return created_at.astimezone(UTC).replace(microsecond=0).isoformat()
