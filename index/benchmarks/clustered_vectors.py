"""Generates item vectors and user-like queries that resemble learned embeddings, for benchmarks and tests.

An item is its cluster's centre plus noise, times a norm. Clusters differ in size, the axes in variance (a spectrum that
falls, as those of trained tables do), and norms are uneven, as popular items get longer vectors. A query is the sum of
30 items of three clusters, as a user's vector is of the items that the user had.
"""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

NOISE = 0.7  # length of an item's noise relative to its centre
NORM_SPREAD = 0.3  # standard deviation of the logarithm of the norms
SIZE_SPREAD = 1.0  # of the logarithm of the clusters' sizes
SPECTRUM = 0.25  # axis j has the standard deviation (1 + j)^-SPECTRUM
CLUSTERS_PER_QUERY, ITEMS_PER_CLUSTER = 3, 10
_ROWS_AT_ONCE = 65_536
_LABELS, _CENTRES, _ROWS, _QUERIES = range(4)  # each has its own random numbers


class ClusteredVectors(NamedTuple):
    """Items, queries, and the rows that each query was summed from: what a recommendation for it leaves out."""

    vectors: Array  # (n, d) float32
    queries: Array  # (m, d) float32
    seen: Array  # (m, 30) int64, ascending


def clustered_vectors(
    n: int, d: int, *, n_queries: int = 1_000, seed: int = 0, out: Array | None = None
) -> ClusteredVectors:
    """Make n items of d dimensions and their queries; the same arguments give the same numbers.

    `out` (n, d) float32 is filled where given, such as a memory map for tables larger than memory.
    """
    vectors = np.empty((n, d), np.float32) if out is None else out
    labels = _labels(n, seed)
    axes = (1.0 + np.arange(d, dtype=np.float32)) ** -SPECTRUM
    axes /= np.linalg.norm(axes)
    centres = _generator(seed, _CENTRES).standard_normal((n_clusters(n), d), dtype=np.float32) * axes
    for start in range(0, n, _ROWS_AT_ONCE):
        rng, own = _generator(seed, _ROWS, start), labels[start : start + _ROWS_AT_ONCE]
        rows = rng.standard_normal((len(own), d), dtype=np.float32)
        rows *= NOISE * axes
        rows += centres[own]
        rows *= rng.lognormal(0, NORM_SPREAD, (len(own), 1)).astype(np.float32)
        vectors[start : start + len(own)] = rows
    seen = _seen(labels, n_queries, _generator(seed, _QUERIES))
    return ClusteredVectors(vectors, np.stack([vectors[rows].sum(axis=0) for rows in seen]), seen)


def n_clusters(n: int) -> int:
    """The number of clusters among n items: about the root of n, at least 16."""
    return max(16, int(np.sqrt(n)))


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def _labels(n: int, seed: int) -> Array:
    """The cluster of each item (n,)."""
    rng = _generator(seed, _LABELS)
    shares = np.cumsum(rng.lognormal(0, SIZE_SPREAD, n_clusters(n)))
    labels: Array = np.searchsorted(shares / shares[-1], rng.random(n), side="right")
    return np.minimum(labels, len(shares) - 1).astype(np.int32)


def _seen(labels: Array, n_queries: int, rng: np.random.Generator) -> Array:
    """Rows (n_queries, 30): ten each of three clusters, larger clusters more often."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=n_clusters(len(labels)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    seen = np.empty((n_queries, CLUSTERS_PER_QUERY * ITEMS_PER_CLUSTER), np.int64)
    for rows in seen:
        chosen = rng.choice(len(sizes), CLUSTERS_PER_QUERY, replace=False, p=sizes / len(labels))
        ends = np.maximum(starts[chosen] + sizes[chosen], ITEMS_PER_CLUSTER)  # a small cluster gives rows of others too
        first = np.minimum(starts[chosen], ends - ITEMS_PER_CLUSTER)
        places = [a + rng.choice(b - a, ITEMS_PER_CLUSTER, replace=False) for a, b in zip(first, ends, strict=True)]
        rows[:] = np.sort(order[np.concatenate(places)])
    return seen
