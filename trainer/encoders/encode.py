"""Features for many items: equal content is encoded once, missing inputs get the mean of the others."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from trainer.encoders.base import FeatureEncoder
from trainer.encoders.cache import FeatureCache
from trainer.progress import track

SHOWN = 10  # unreadable items named one by one in the warning

log = logging.getLogger(__name__)


def encode_features(
    inputs: Sequence[str], encoder: FeatureEncoder, *, cache: Path, batch_size: int
) -> tuple[NDArray[np.float32], int]:
    """Features (n, width) of the inputs, and how many of them were missing and got the mean of the others.

    Missing is what is blank, has no content (no such file) or content that cannot be read (a broken image);
    the last two are named in a warning. Equal content is encoded once, here and in every later call with the
    same `cache` folder; a killed call resumes after its last whole batch.
    InputError when all are missing.
    """
    rows, present = encode_readable(inputs, encoder, cache=cache, batch_size=batch_size)
    missing = len(inputs) - int(present.sum())
    if missing == len(inputs):
        raise InputError(f"nothing to encode: each of the {len(inputs):,} inputs is blank or cannot be read")
    rows[~present] = rows[present].mean(axis=0, dtype=np.float64)
    return rows, missing


def encode_readable(
    inputs: Sequence[str], encoder: FeatureEncoder, *, cache: Path, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """As `encode_features`, but missing inputs get zeros: also returns which are present, (n,)."""
    keys = [_content_hash(item, encoder) for item in inputs]
    items = {key: item for key, item in zip(keys, inputs, strict=True) if key is not None}
    features = _features(items, encoder, cache, batch_size)
    found = [features.get(key) if key is not None else None for key in keys]
    present = np.array([row is not None for row in found], dtype=np.bool_)
    _report([item for item, there in zip(inputs, present, strict=True) if item.strip() and not there], len(inputs))
    rows = np.zeros((len(inputs), encoder.width), dtype=np.float32)
    if present.any():
        rows[present] = [row for row in found if row is not None]
    return rows, present


def _content_hash(item: str, encoder: FeatureEncoder) -> bytes | None:
    if not item.strip():
        return None
    try:
        return hashlib.blake2b(encoder.content(item), digest_size=16).digest()
    except (OSError, ValueError):  # ValueError: a path that no file system takes
        return None


def _features(
    items: Mapping[bytes, str], encoder: FeatureEncoder, cache: Path, batch_size: int
) -> dict[bytes, NDArray[np.float32]]:
    with closing(FeatureCache(cache, encoder)) as store:
        known = store.get(items)
        # Texts of equal length need no padding; the longest come first, so that a lack of memory shows at once.
        pending = sorted(items.keys() - known.keys(), key=lambda key: (-len(items[key]), key))
        batches = [pending[start : start + batch_size] for start in range(0, len(pending), batch_size)]
        for keys in track(batches, f"encoding with {encoder.name}"):
            rows = encoder.encode([items[key] for key in keys])  # (batch, width)
            encoded = {key: row for key, row in zip(keys, rows, strict=True) if np.isfinite(row).all()}
            store.put(encoded)
            known.update(encoded)
    return known


def _report(unreadable: Sequence[str], total: int) -> None:
    if unreadable:
        shown = ", ".join(unreadable[:SHOWN]) + (", ..." if len(unreadable) > SHOWN else "")
        log.warning("%d of %d inputs cannot be read and get the mean: %s", len(unreadable), total, shown)
