"""From features of any width to the unit rows by which a bundle finds neighbours."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from index.layout import MAX_NEIGHBOUR_WIDTH
from index.ranking import unit_rows

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS_AT_ONCE = 4_096
"""Of features in float32, and in float64."""


def is_projected(features: Array) -> bool:
    """Whether the features are wider than what a bundle keeps of them."""
    return bool(features.shape[1] > MAX_NEIGHBOUR_WIDTH)


def projection_of(features: Array) -> Array:
    """The leading singular directions of the features' unit rows (width, MAX_NEIGHBOUR_WIDTH) float32."""
    crossed = sum(block.T @ block for _, block in _unit_blocks(features, np.float64))
    _, directions = np.linalg.eigh(crossed)  # ascending eigenvalues
    return np.ascontiguousarray(directions[:, -MAX_NEIGHBOUR_WIDTH:], np.float32)


def compact(features: Array, projection: Array | None = None) -> Array:
    """Unit rows (n_items, at most MAX_NEIGHBOUR_WIDTH) float16 of the features, or of their projection.

    Inner products of the result are the cosines of the features, up to the variance left out and half precision.
    Features of any precision, memory-mapped ones too, are read some rows at a time.
    """
    kept = np.empty((len(features), features.shape[1] if projection is None else projection.shape[1]), np.float16)
    for part, block in _unit_blocks(features, np.float32):
        kept[part] = block if projection is None else unit_rows(block @ projection)
    return kept


def _unit_blocks(features: Array, precision: type[np.floating[Any]]) -> Iterator[tuple[slice, Array]]:
    for start in range(0, len(features), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        yield part, unit_rows(np.asarray(features[part], dtype=np.float32)).astype(precision)
