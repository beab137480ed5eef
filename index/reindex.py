"""Rebuilds a bundle's search index with other settings, as a new bundle that shares all other files."""

import os
from datetime import UTC, datetime
from pathlib import Path

from index.bundle import open_bundle
from index.item_index import ItemIndex
from index.manifest import FORMAT, INDEX
from index.recall import measured_recall
from index.writing import write_bundle_folder


def reindex(
    bundle_path: Path, factory: str, *, created_at: datetime, nprobe: int | None = None, ef_search: int | None = None
) -> Path:
    """Write a new bundle beside this one, with an index by `factory` and its measured recall; returns its path.

    Unchanged files are hard links, so only the index takes space. The old bundle is verified first: damaged files
    must not get valid new sums.
    """
    bundle = open_bundle(bundle_path)
    index = ItemIndex.build(bundle.item_embeddings, factory, nprobe=nprobe, ef_search=ef_search)
    recall = measured_recall(index, bundle.item_embeddings, bundle.user_embeddings, bundle.seen)
    record = bundle.manifest.model_dump(mode="json", exclude={"bundle_id", "files"}) | {
        "format": FORMAT,
        "created_at": created_at.astimezone(UTC).replace(microsecond=0).isoformat(),
        "index": {"factory": factory, "settings": index.settings, "recall": recall},
    }

    def fill(folder: Path) -> None:
        for name in bundle.manifest.files.keys() - {INDEX}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(bundle.path / name, folder / name)
        index.write(folder / INDEX)

    return write_bundle_folder(bundle.path.parent, record, fill)
