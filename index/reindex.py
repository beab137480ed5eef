"""Rebuilds a bundle's search index with other settings, as a new bundle that shares all other files."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from index.auto.build import IndexData, Tell, index_record, make_index
from index.auto.choice import AUTO, AutoLimits
from index.bundle import open_bundle
from index.manifest import FORMAT, INDEX
from index.writing import write_bundle_folder


def reindex(
    bundle_path: Path,
    factory: str = AUTO,
    *,
    created_at: datetime,
    limits: AutoLimits | None = None,
    tell: Tell | None = None,
    settings: Mapping[str, int] | None = None,
) -> Path:
    """Write a new bundle beside this one, with an index by `factory` and its measured recall; returns its path.

    factory: of FAISS, or `auto`, which chooses an index within `limits`. The bundle's own factory keeps the bundle's
    search settings unless some are given, and with them what it promises.
    Unchanged files are hard links, so only the index takes space. The old bundle is verified first: damaged files
    must not get valid new sums.
    """
    bundle = open_bundle(bundle_path)
    data = IndexData(bundle.item_embeddings, bundle.user_embeddings, bundle.seen)
    own = bundle.manifest.index
    if factory == own.factory and not settings:
        index, info = make_index(data, factory, None, tell, own.settings)
        info = own.model_copy(update={"settings": info.settings, "recall": info.recall})
    else:
        index, info = make_index(data, factory, limits, tell, settings)
    record = bundle.manifest.model_dump(mode="json", exclude={"bundle_id", "files"}) | {
        "format": FORMAT,
        "created_at": created_at.astimezone(UTC).replace(microsecond=0).isoformat(),
        "index": index_record(info),
    }

    def fill(folder: Path) -> None:
        for name in bundle.manifest.files.keys() - {INDEX}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(bundle.path / name, folder / name)
        index.write(folder / INDEX)

    return write_bundle_folder(bundle.path.parent, record, fill)
