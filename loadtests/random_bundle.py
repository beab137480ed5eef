"""Random bundles of any size, valid and made within seconds: data to serve while measuring."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from index.bundle import BundleContent, write_bundle
from index.errors import InputError
from index.manifest import MODALITIES, PARTS
from index.recency import Recency, past_weights
from index.registry import Registry

Array = np.ndarray[Any, Any]

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
NEIGHBOUR_WIDTH = 64
HEAVY_USERS = 20
CATEGORIES = ("chair", "lamp", "table", "rug", "shelf", "mirror")
MATERIALS = ("oak", "brass", "wool", "linen", "glass")


@dataclass(frozen=True)
class RandomBundleSizes:
    """The dimensions of a random bundle."""

    n_items: int = 20_000
    n_users: int = 100_000
    seen_per_user: int = 30
    embedding_size: int = 64
    heavy: tuple[int, ...] = ()  # numbers of seen items; each adds HEAVY_USERS users


def publish_random(
    registry: Path, sizes: RandomBundleSizes, rng: np.random.Generator, *, recency: Recency | None = None
) -> None:
    """Write a random bundle into the registry and publish it."""
    path = write_bundle(registry, random_content(sizes, rng, recency=recency), created_at=CREATED)
    Registry(registry).publish(path.name)


def random_content(
    sizes: RandomBundleSizes, rng: np.random.Generator, *, recency: Recency | None = None
) -> BundleContent:
    """Return users and items with normal vectors, all parts and modalities, and seen items skewed towards a few.

    With recency users are nothing but what their past items add, by its weights; otherwise they have own terms too.
    InputError where a user would have more seen items than there are items.
    """
    most = max((sizes.seen_per_user, *sizes.heavy))
    if most > sizes.n_items:
        raise InputError(f"{most} seen per user of {sizes.n_items} items; expected at most as many as items")
    n_items, size = sizes.n_items, sizes.embedding_size
    parts = {part: _normal(rng, n_items, size) for part in PARTS}
    seen = [random_seen(one, rng) for one in _each_seen(sizes)]  # each (users, seen_per_user)
    items = np.concatenate([rows.ravel() for rows in seen])  # (n_interactions,)
    counts = np.bincount(items, minlength=n_items)  # (n_items,)
    users = _users(sizes)
    fold_in, own = _normal(rng, n_items, size), _normal(rng, len(users), size)
    folded = np.concatenate([_folded(fold_in, rows, recency) for rows in seen])  # (n_users, d)
    return BundleContent(
        model="random",
        config={},
        data_fingerprint="0" * 64,
        seed=0,
        metrics={},
        user_ids=users,
        item_ids=[item_id(row) for row in range(n_items)],
        user_embeddings=own + folded if recency is None else folded,
        item_embeddings=np.sum(np.stack(list(parts.values())), axis=0),
        item_parts=parts,
        fold_in=fold_in,
        user_own=own if recency is None else None,
        recency=recency,
        seen_offsets=_offsets(seen),
        seen_items=items,
        popularity_count=counts.astype(np.int64),
        popularity_trend=counts.astype(np.float32),
        neighbours={modality: _unit(_normal(rng, n_items, NEIGHBOUR_WIDTH)) for modality in MODALITIES},
        items=[_item(row) for row in range(n_items)],
    )


def retrained(content: BundleContent) -> BundleContent:
    """Return the content with all learned vectors twice as long: of the same catalogue and the same interactions."""
    return replace(
        content,
        user_embeddings=content.user_embeddings * 2,
        item_embeddings=content.item_embeddings * 2,
        item_parts={part: rows * 2 for part, rows in content.item_parts.items()},
        fold_in=content.fold_in * 2,
        user_own=None if content.user_own is None else content.user_own * 2,
    )


def user_id(row: int) -> str:
    """Return the user id of a row."""
    return f"user-{row}"


def heavy_users(n_seen: int) -> list[str]:
    """Return the ids of the users with so many seen items."""
    return [f"user-with-{n_seen}-{number}" for number in range(HEAVY_USERS)]


def item_id(row: int) -> str:
    """Return the item id of a row."""
    return f"item-{row}"


def random_seen(sizes: RandomBundleSizes, rng: np.random.Generator) -> Array:
    """Return item rows (n_users, seen_per_user) int32, distinct for each user, some items far more often than others.

    The j-th is drawn among the items of residue j modulo seen_per_user, so that no two can be equal; then shuffled.
    """
    n_seen = sizes.seen_per_user
    drawn = rng.random((sizes.n_users, n_seen)) ** 2  # squared: the first items of each residue are popular
    rows = (drawn * (sizes.n_items // max(n_seen, 1))).astype(np.int32) * n_seen + np.arange(n_seen, dtype=np.int32)
    return rng.permuted(rows, axis=1)


def _users(sizes: RandomBundleSizes) -> list[str]:
    usual = [user_id(row) for row in range(sizes.n_users)]
    return usual + [user for n_seen in sizes.heavy for user in heavy_users(n_seen)]


def _each_seen(sizes: RandomBundleSizes) -> list[RandomBundleSizes]:
    """The sizes of each group of users with equally many seen items."""
    heavy = [replace(sizes, n_users=HEAVY_USERS, seen_per_user=n_seen) for n_seen in sizes.heavy]
    return [sizes, *heavy]


def _offsets(seen: list[Array]) -> Array:
    """The offset of each user's seen items, and the end (n_users + 1,)."""
    lengths = np.concatenate([np.full(*rows.shape) for rows in seen])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _folded(fold_in: Array, seen: Array, recency: Recency | None) -> Array:
    weights = past_weights(np.array([0, seen.shape[1]]), recency)  # (seen_per_user,), oldest first
    total = np.zeros((len(seen), fold_in.shape[1]), np.float32)  # (n_users, d)
    for weight, column in zip(weights, seen.T, strict=True):  # one after another: the whole would take gigabytes
        total += weight * fold_in[column]
    return total / np.float32(np.sqrt(max(weights.sum(), 1)))


def _normal(rng: np.random.Generator, n: int, size: int) -> Array:
    return rng.standard_normal((n, size), dtype=np.float32)


def _unit(rows: Array) -> Array:
    unit: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float16)


def _item(row: int) -> dict[str, Any]:
    category, material = CATEGORIES[row % len(CATEGORIES)], MATERIALS[row % len(MATERIALS)]
    return {
        "title": f"{material} {category} no. {row}",
        "category": category,
        "attributes": {"material": material},
        "image": f"images/{row}.jpg",
    }
