"""Loads and validates given features, and fills missing rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError

FeatureArray = NDArray[np.floating]
SHOWN_IDS = 5
LARGEST = 1e18  # the square of a larger value is infinite in float32, in which models compute lengths


def load_features(file: Path) -> FeatureArray:
    """A .npy table, memory-mapped."""
    if not file.is_file():
        raise InputError(f"no such file of features: {file}")
    try:
        features: FeatureArray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{file} is not a .npy file of numbers: {error}") from error
    return features


def checked_features(modality: str, features: NDArray[np.floating], item_ids: Sequence[str]) -> FeatureArray:
    """Validate the features and return them as float16 or float32 (n_items, width).

    InputError: not a table, another number of rows than items, or NaN or infinite values (the first items are
    named).
    """
    if features.ndim != 2 or features.shape[1] == 0 or features.dtype.kind not in "fiu":
        raise InputError(
            f"{modality} features must be a table of numbers (n_items, width),"
            f" found shape {features.shape} of {features.dtype}"
        )
    if len(features) != len(item_ids):
        raise InputError(f"{modality} features have {len(features):,} rows, but there are {len(item_ids):,} items")
    if features.dtype not in (np.float16, np.float32):
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
            features = features.astype(np.float32)
    _refuse_rows(modality, "NaN or infinite values", ~np.isfinite(features), item_ids)
    if features.dtype == np.float32:
        _refuse_rows(modality, "values beyond 1e18", (features > LARGEST) | (features < -LARGEST), item_ids)
    return features


def _refuse_rows(modality: str, what: str, bad: NDArray[np.bool_], item_ids: Sequence[str]) -> None:
    rows = np.flatnonzero(bad.any(axis=1))
    if rows.size:
        shown = ", ".join(item_ids[row][:80] for row in rows[:SHOWN_IDS])
        raise InputError(f"{modality} features have {what} in {rows.size:,} of {len(bad):,} rows; first items: {shown}")


def with_mean_for_zero_rows(modality: str, features: FeatureArray) -> tuple[FeatureArray, int]:
    """Give every all-zero row the mean of the others; also return how many there were.

    An item without picture or text should be like the average item, not orthogonal to all.
    """
    present: NDArray[np.bool_] = np.any(features != 0, axis=1)
    n_missing = int(len(features) - present.sum())
    if n_missing == 0:
        return features, 0
    if n_missing == len(features):
        raise InputError(f"{modality} features are zero in all {len(features):,} rows")
    filled = np.array(features)
    filled[~present] = np.mean(features, axis=0, dtype=np.float64, where=present[:, None])
    return filled, n_missing
