"""Puts the items of a catalogue on a map: a place in two dimensions and a cluster for each, by their embeddings.

Places are those of t-SNE over the leading principal components of the embeddings' directions, since a score's order
for a user depends on directions most. t-SNE takes longer than in proportion, so of a large catalogue it places a
sample, and every other item goes where its nearest items of the sample are.
"""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from index.item_map import ItemMap
from index.ranking import unit_rows

Array = np.ndarray[Any, np.dtype[Any]]

COMPONENTS = 50  # that t-SNE sees; distances beyond them are mostly noise
SAMPLE = 5_000  # items that t-SNE places
STEPS = 500  # of t-SNE; the default of 1,000 doubles the time for the same clusters
FEWEST = 100  # items, below which t-SNE has too few neighbours and the two first components are the map
CLUSTERS = 10  # as many as there are colours that eyes tell apart
NEAREST = 5  # items of the sample that place another one
_ROWS_AT_ONCE = 4_096


def catalogue_map(item_embeddings: Array, seed: int) -> ItemMap:
    """The map of items with these embeddings (n, d); the same embeddings and seed give the same map."""
    # One thread: sums over several are rounded in any order, and t-SNE makes another map of each.
    with threadpool_limits(1):
        points = _components(unit_rows(item_embeddings))
        rows = np.arange(len(points))
        if len(points) < FEWEST:
            placed, method = _first_two(points), "principal components"
        elif len(points) <= SAMPLE:
            placed, method = _tsne(points, seed), "t-SNE"
        else:
            rows = np.sort(np.random.default_rng(seed).choice(len(points), SAMPLE, replace=False))
            placed = _beside_nearest(points, rows, _tsne(points[rows], seed))
            method = f"t-SNE of {SAMPLE:,} items, others beside their nearest"
        cluster_of = _clusters(points, rows, seed)
    return ItemMap(method, int(cluster_of.max()) + 1, _in_unit_square(placed), cluster_of)


def _components(rows: Array) -> Array:
    """The leading principal components (n, at most COMPONENTS), the largest first."""
    centred = rows - rows.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)  # ascending eigenvalues
    leading = directions[:, ::-1][:, :COMPONENTS]
    largest = np.take_along_axis(leading, np.abs(leading).argmax(axis=0)[None], axis=0)
    found: Array = (centred @ (leading * np.sign(largest))).astype(np.float32)  # an eigenvector's sign is arbitrary
    return found


def _first_two(points: Array) -> Array:
    return np.pad(points[:, :2], [(0, 0), (0, max(0, 2 - points.shape[1]))])


def _tsne(points: Array, seed: int) -> Array:
    from sklearn.manifold import TSNE  # noqa: PLC0415 - a second to import, which --help must not wait for

    start = _first_two(points) / max(float(points[:, 0].std()), 1e-12) * 1e-4  # sklearn's own scale of a start by PCA
    found: Array = TSNE(2, init=start, max_iter=STEPS, random_state=seed, n_jobs=1).fit_transform(points)
    return found


def _beside_nearest(points: Array, sample: Array, placed: Array) -> Array:
    """All items' places: those of the sample, and for others means of their nearest ones' weighted by nearness."""
    places = np.empty((len(points), 2), np.float32)
    known = points[sample]
    lengths = (known**2).sum(axis=1)
    for start in range(0, len(points), _ROWS_AT_ONCE):
        block = points[start : start + _ROWS_AT_ONCE]
        squares = lengths - 2 * block @ known.T + (block**2).sum(axis=1, keepdims=True)
        near = np.argpartition(squares, NEAREST - 1, axis=1)[:, :NEAREST]
        distances = np.sqrt(np.maximum(np.take_along_axis(squares, near, axis=1), 0))
        # By the fourth power: a mean of equals would lie in the empty space between two clusters.
        weights = 1 / (distances + 1e-6) ** 4
        weights /= weights.sum(axis=1, keepdims=True)
        places[start : start + _ROWS_AT_ONCE] = np.einsum("nk,nkc->nc", weights, placed[near])
    places[sample] = placed
    return places


def _clusters(points: Array, sample: Array, seed: int) -> Array:
    """The k-means cluster of each item (n,), numbered from the largest; the sample gives the centres."""
    from sklearn.cluster import KMeans  # noqa: PLC0415

    distinct = len(np.unique(points[sample], axis=0))
    n = max(1, min(CLUSTERS, len(points) // 10, distinct))
    found = KMeans(n, n_init=3, random_state=seed).fit(points[sample]).predict(points)
    _, found = np.unique(found, return_inverse=True)
    order = np.argsort(-np.bincount(found), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[found].astype(np.uint16)


def _in_unit_square(places: Array) -> Array:
    """The places moved and scaled into [0, 1], both directions alike, with their middle at (½, ½)."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = float((high - low).max()) or 1.0
    scaled: Array = np.clip((places - (low + high) / 2) / side + 0.5, 0, 1).astype(np.float32)
    return scaled
