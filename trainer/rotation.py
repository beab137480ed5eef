"""Rotates a new bundle's embeddings onto those of the bundle that serves.

A training finds embeddings up to a rotation, which no score depends on. Turned so that the items of both bundles lie
as near to where they were as they can, vectors that are stored elsewhere stay meaningful from bundle to bundle.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from index.bundle import BundleContent, open_bundle
from index.bundle_store import StoreUnavailableError
from index.content import AnchorContent
from index.errors import InputError
from index.registry import Registry
from trainer.progress import print_status

Array = np.ndarray[Any, np.dtype[Any]]


_ROWS_AT_ONCE = 65_536  # in float64


def rotated_onto(content: BundleContent, registry: Registry) -> BundleContent:
    """The content, rotated where the registry serves a bundle of this dimension that has items in common with it."""
    current = registry.current_id()
    if current is None:
        return content
    try:
        serving = open_bundle(registry.path(current))
    except StoreUnavailableError:
        raise
    except InputError as error:  # a damaged bundle does not keep the next one from being written
        print_status(f"not rotated onto {current}: {error}")
        return content
    rows = serving.item_ids.rows(content.item_ids)
    common = rows >= 0
    if not common.any() or serving.item_embeddings.shape[1] != content.item_embeddings.shape[1]:
        return content
    return rotated(content, nearest_rotation(content.item_embeddings[common], serving.item_embeddings[rows[common]]))


def nearest_rotation(mine: Array, theirs: Array) -> Array:
    """The orthogonal Q (d, d) that makes mine @ Q nearest to theirs, both (n, d): Procrustes' problem."""
    starts = range(0, len(mine), _ROWS_AT_ONCE)
    blocks = ([rows[start : start + _ROWS_AT_ONCE].astype(np.float64) for rows in (mine, theirs)] for start in starts)
    left, _, right = np.linalg.svd(sum(one.T @ other for one, other in blocks))
    rotation: Array = left @ right
    return rotation


def rotated(content: BundleContent, rotation: Array) -> BundleContent:
    """All embeddings of the content times an orthogonal matrix (d, d); its scores are the same to float error."""

    def turn(rows: Array) -> Array:
        turned = np.empty_like(rows)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            turned[start : start + _ROWS_AT_ONCE] = rows[start : start + _ROWS_AT_ONCE] @ rotation
        return turned

    parts = {name: turn(part) for name, part in content.item_parts.items()}
    return replace(
        content,
        user_embeddings=turn(content.user_embeddings),
        item_embeddings=turn(content.item_embeddings),
        item_parts=parts,
        fold_in=turn(content.fold_in),
        user_own=None if content.user_own is None else turn(content.user_own),
        anchor=None if content.anchor is None else _turned_anchor(content.anchor, rotation),
    )


def _turned_anchor(anchor: AnchorContent, rotation: Array) -> AnchorContent:
    def turn(rows: Array) -> Array:
        return (rows @ rotation).astype(np.float32)

    return replace(
        anchor,
        mean=turn(anchor.mean),
        weights={modality: turn(rows) for modality, rows in anchor.weights.items()},
        fold_in_mean=None if anchor.fold_in_mean is None else turn(anchor.fold_in_mean),
        fold_in_weights={modality: turn(rows) for modality, rows in anchor.fold_in_weights.items()},
    )
