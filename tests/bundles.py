"""A small valid bundle content, random by seed, for the tests of index and service."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from index.bundle import BundleContent, write_bundle
from index.content import AnchorContent
from index.invariants import fold_in_sums
from index.item_map import ItemMap
from index.manifest import INDEX, MANIFEST, MODALITIES, PARTS, digest_of, manifest_bytes
from index.recency import Recency
from index.storage import sha256_of
from index.tables import Precision
from loadtests.random_bundle import retrained

CATEGORIES = ("chair", "lamp", "table", "rug")
MATERIALS = ("oak", "brass", "wool")
MADE_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def write_small_bundle(
    registry: Path,
    *,
    after_seconds: int = 0,
    factory: str = "Flat",
    precision: Precision = "float32",
    **changes: Any,
) -> Path:
    """A bundle on disk, made so long after noon of 2026-01-01; `changes` as for make_content."""
    created_at = MADE_AT + timedelta(seconds=after_seconds)
    return write_bundle(registry, make_content(**changes), created_at=created_at, factory=factory, precision=precision)


def write_tiny_bundle(registry: Path, after_seconds: int, *, seed: int = 0) -> Path:
    """A small bundle of two users and three items, copied: writing one takes far longer."""
    bundle = _tiny_bundle(after_seconds, seed)
    shutil.copytree(bundle, registry / bundle.name)
    return registry / bundle.name


@functools.cache
def _tiny_bundle(after_seconds: int, seed: int) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    sizes = {"n_users": 2, "n_items": 3, "embedding_size": 2}
    return write_small_bundle(folder, after_seconds=after_seconds, seed=seed, neighbours={}, **sizes)


def write_retrained_bundle(registry: Path, *, after_seconds: int = 0, **changes: Any) -> Path:
    """The small bundle with other learned vectors: of the same catalogue and the same interactions."""
    created_at = MADE_AT + timedelta(seconds=after_seconds)
    return write_bundle(registry, retrained(make_content(**changes)), created_at=created_at)


def edited(bundle: Path, name: str, edit: Callable[[np.ndarray], None]) -> Path:
    """The bundle with an array changed and all sums right, as another writer than ours could make it."""
    array = np.load(bundle / name)
    edit(array)
    np.save(bundle / name, array)
    return _with_sum(bundle, name)


def with_index(bundle: Path, change: Callable[[Path], object]) -> Path:
    """The bundle with another index file and all sums right, as another writer than ours could make it."""
    change(bundle / INDEX)
    return _with_sum(bundle, INDEX)


def _with_sum(bundle: Path, name: str) -> Path:
    found = sha256_of(bundle / name)
    return with_manifest(bundle, lambda record: record["files"].update({name: found}))


def promising(bundle: Path, recall: float) -> Path:
    """The bundle with an index that promises this recall@20."""
    return with_manifest(bundle, lambda record: record["index"].update(promised=recall))


def narrowed(bundle: Path, nprobe: int = 1) -> Path:
    """The bundle with an IVF index that probes so many lists."""
    return with_manifest(bundle, lambda record: record["index"]["settings"].update(nprobe=nprobe))


def with_manifest(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """The bundle with a changed manifest, under the name that it then has."""
    record = json.loads((bundle / MANIFEST).read_bytes())
    edit(record)
    record["bundle_id"] = record["bundle_id"][:-8] + digest_of(record)
    (bundle / MANIFEST).write_bytes(manifest_bytes(record))
    return bundle.rename(bundle.parent / record["bundle_id"])


def make_content(
    n_users: int = 30,
    n_items: int = 40,
    embedding_size: int = 8,
    *,
    seed: int = 0,
    recency: Recency | None = None,
    has_own: bool = True,
    **changes: Any,
) -> BundleContent:
    """Users "user-0".., items "item-0".. with every part and modality; each user but the last has 1..10 seen items.

    `changes` replace fields of the content afterwards, to break it or to name it.
    """
    rng = np.random.default_rng(seed)
    parts = {part: _normal(rng, n_items, embedding_size) for part in PARTS}
    fold_in, user_own = _normal(rng, n_items, embedding_size), _normal(rng, n_users, embedding_size)
    offsets, seen = _seen(rng, n_users, n_items)
    folded = fold_in_sums(fold_in, offsets, seen, recency)
    fields: dict[str, Any] = {
        "model": "anchorrec",
        "config": {"embedding_size": embedding_size, "n_layers": 2},
        "data_fingerprint": "f" * 64,
        "seed": seed,
        "metrics": {name: {"recall@20": 0.2, "ndcg@20": 0.1} for name in ("valid", "test")},
        "user_ids": [f"user-{row}" for row in range(n_users)],
        "item_ids": [f"item-{row}" for row in range(n_items)],
        "user_embeddings": (user_own + folded if has_own else folded).astype(np.float32),
        "item_embeddings": sum(parts.values()).astype(np.float32),  # type: ignore[union-attr]
        "item_parts": parts,
        "fold_in": fold_in,
        "user_own": user_own if has_own else None,
        "recency": recency,
        "seen_offsets": offsets,
        "seen_items": seen,
        "popularity_count": np.bincount(seen, minlength=n_items).astype(np.int64),
        "popularity_trend": rng.random(n_items, dtype=np.float32),
        "neighbours": {modality: _unit(_normal(rng, n_items, 6)) for modality in MODALITIES},
        "items": [_item(row) for row in range(n_items)],
    }
    return BundleContent(**(fields | changes))


def make_living_content(*, seed: int = 0, **changes: Any) -> BundleContent:
    """As make_content, and able to take in items that training never saw: by features as `make_anchor` says.

    Texts are their own neighbours, pictures are projected onto 6 directions.
    """
    rng = np.random.default_rng(seed + 1)
    content = make_content(seed=seed, **{"anchor": make_anchor(changes.get("embedding_size", 8), seed=seed), **changes})
    texts = {"text": _unit(_normal(rng, len(content.item_ids), 5))}
    return replace(content, neighbours={**content.neighbours, **texts}, projections={"image": _normal(rng, 7, 6)})


def make_features(n: int, *, seed: int = 0) -> list[dict[str, list[float]]]:
    """The features of n items, as wide as `make_anchor` says."""
    rng = np.random.default_rng(seed)
    rows = {"text": _normal(rng, n, 5), "image": _normal(rng, n, 7)}
    return [{modality: rows[modality][i].tolist() for modality in rows} for i in range(n)]


def make_anchor(embedding_size: int = 8, *, seed: int = 0, **changes: Any) -> AnchorContent:
    """An anchor that is predicted from text features of width 5 and image features of width 7."""
    rng = np.random.default_rng(seed)
    widths = {"text": 5, "image": 7}
    fields: dict[str, Any] = {
        "mean": _normal(rng, 1, embedding_size)[0],
        "weights": {modality: _normal(rng, width, embedding_size) for modality, width in widths.items()},
        "centers": {modality: _normal(rng, 1, width)[0] for modality, width in widths.items()},
        "kappa": 2.0,
        "rho": 1.25,
        "shortest": dict.fromkeys(widths, 1e-05),
        "fold_in_mean": _normal(rng, 1, embedding_size)[0],
        "fold_in_weights": {modality: _normal(rng, width, embedding_size) for modality, width in widths.items()},
    }
    return AnchorContent(**(fields | changes))


def make_map(n_items: int = 40, *, seed: int = 0, clusters: int = 4, **changes: Any) -> ItemMap:
    """A map with items anywhere on it."""
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "method": "random",
        "clusters": clusters,
        "positions": rng.random((n_items, 2), dtype=np.float32),
        "cluster_of": (np.arange(n_items) % clusters).astype(np.uint16),
    }
    return ItemMap(**(fields | changes))


def _normal(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    return rng.standard_normal((n, size), dtype=np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def _seen(rng: np.random.Generator, n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    degrees = rng.integers(1, min(10, n_items), size=n_users, endpoint=True)
    degrees[-1] = 0  # a user of whom nothing is known
    rows = [rng.choice(n_items, size=degree, replace=False) for degree in degrees]
    offsets = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64)
    return offsets, np.concatenate(rows).astype(np.int32)


def _item(row: int) -> dict[str, Any]:
    category, material = CATEGORIES[row % len(CATEGORIES)], MATERIALS[row % len(MATERIALS)]
    image = f"images/{row}.jpg" if row % 5 else None
    return {
        "title": f"{material} {category} no. {row}",
        "category": category,
        "attributes": {"material": material},
        "image": image,
    }
