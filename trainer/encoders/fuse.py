"""Text and image features side by side, as one kind of multimodal features."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh


def fuse(
    text_features: NDArray[np.floating], image_features: NDArray[np.floating], width: int | None = None
) -> NDArray[np.float32]:
    """Unit text rows next to unit rows of the principal components of the unit image rows.

    `width` is the number of components, by default the text width; at most as many as items or image columns.
    Both halves weigh the same in a cosine, whatever the two encoders' scales were.
    """
    components = min(width or text_features.shape[1], *image_features.shape)
    image_half = unit_rows(principal_components(unit_rows(image_features), components))
    return np.hstack([unit_rows(text_features), image_half]).astype(np.float32)  # (n, text width + components)


def unit_rows(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows of length one in double precision; a row of zeros stays."""
    rows = features.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def principal_components(features: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """Scores (n, components), largest variance first; the largest loading of each axis is made positive."""
    centred = features - features.mean(axis=0)
    axes = _leading_axes(centred, components)
    largest = np.abs(axes).argmax(axis=0)
    signs = np.sign(axes[largest, np.arange(components)])
    scores: NDArray[np.float64] = centred @ (axes * signs)
    return scores


def _leading_axes(centred: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """Orthonormal directions (width, components) of most variance, from whichever product of the rows is smaller."""
    n, width = centred.shape
    if width <= n:
        _, axes = eigh(centred.T @ centred, subset_by_index=[width - components, width - 1])
        return np.asarray(axes[:, ::-1])
    variances, scores = eigh(centred @ centred.T, subset_by_index=[n - components, n - 1])
    axes = centred.T @ scores
    # Centring leaves at most n - 1 directions; one without variance has no axis and its scores are zero.
    lengths = np.sqrt(np.maximum(variances, 0.0))
    axes = np.divide(axes, lengths, out=np.zeros_like(axes), where=lengths > 1e-9 * lengths.max(initial=1e-300))
    return np.asarray(axes[:, ::-1])
