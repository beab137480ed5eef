"""Loads and validates given features, and fills missing rows."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from index.reading import reason

FeatureArray = NDArray[np.floating]
SHOWN_IDS = 5
_ROWS_AT_ONCE = 16_384  # of features that are looked at
LARGEST = 1e18  # the square of a larger value is infinite in float32, in which models compute lengths


def load_features(file: Path) -> FeatureArray:
    """A .npy table, memory-mapped; InputError where the file is anything else."""
    if not file.is_file():
        raise InputError(f"no such file of features: {file}")
    try:
        features: FeatureArray = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # numpy parses the header as Python, and raises what that parser raises
        raise InputError(f"{file} cannot be read as a .npy file of numbers: {reason(error)}") from error
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
    _refuse_rows(modality, "NaN or infinite values", rows_where(features, lambda rows: ~np.isfinite(rows)), item_ids)
    if features.dtype == np.float32:
        too_large = rows_where(features, lambda rows: (rows > LARGEST) | (rows < -LARGEST))
        _refuse_rows(modality, "values beyond 1e18", too_large, item_ids)
    return features


def row_blocks(n: int) -> Iterator[slice]:
    """All of n rows, some at a time."""
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, n, _ROWS_AT_ONCE))


def rows_where(features: FeatureArray, told: Callable[[FeatureArray], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """(n_items,) whether something holds of any value of a row."""
    found = [told(features[part]).any(axis=1) for part in row_blocks(len(features))]
    return np.concatenate(found) if found else np.zeros(0, np.bool_)


def forget_pages(features: FeatureArray) -> None:
    """Free the memory of a memory-mapped table's pages, which are read again when they are needed."""
    mapped: object = features.base  # numpy's stubs take it for an array
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _refuse_rows(modality: str, what: str, bad: NDArray[np.bool_], item_ids: Sequence[str]) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        shown = ", ".join(item_ids[row][:80] for row in rows[:SHOWN_IDS])
        raise InputError(f"{modality} features have {what} in {rows.size:,} of {len(bad):,} rows; first items: {shown}")


def with_mean_for_zero_rows(modality: str, features: FeatureArray) -> tuple[FeatureArray, int]:
    """Give every all-zero row the mean of the others; also return how many there were.

    An item without picture or text should be like the average item, not orthogonal to all.
    """
    present = rows_where(features, lambda rows: rows != 0)
    n_missing = int(len(features) - present.sum())
    if n_missing == 0:
        return features, 0
    if n_missing == len(features):
        raise InputError(f"{modality} features are zero in all {len(features):,} rows")
    filled = np.array(features)
    filled[~present] = np.mean(features, axis=0, dtype=np.float64, where=present[:, None])
    return filled, n_missing
