"""Making a bundle: everything is checked first, written under a temporary name, and renamed when whole and durable."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from index.content import BundleContent, checked_arrays
from index.errors import InputError
from index.item_index import ItemIndex, measured_recall
from index.manifest import FORMAT, INDEX, MANIFEST, Manifest, digest_of, record_bytes
from index.storage import files_under, save_array, sha256_of, sync, sync_tree, temporary_folder


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
        (folder / MANIFEST).write_bytes(record_bytes(record | {"bundle_id": bundle_id}))
        sync_tree(folder)
        path = registry_folder / bundle_id
        if not path.exists():
            folder.rename(path)
            sync(registry_folder)
    return path


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
