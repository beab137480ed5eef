"""Builds FAISS indexes that are right for inner product: trained on a sample, filled in chunks.

`IVFn,...`: each list holds items of like direction, found by k-means over normalised vectors. A list's entry in the
quantizer is its unit centroid times the largest norm in the list, so that lists are probed by a bound on their scores:
FAISS's own k-means over raw vectors puts most items into the lists of the longest centroids. `PCAn,...`: a projection
onto the first n axes of the second moment, without the mean that FAISS's PCA subtracts and which would change inner
products. Other factory strings are built as FAISS does. docs/decisions/lists-by-direction.md has the reasons.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.ranking import unit_rows

Array = np.ndarray[Any, Any]
Progress = Callable[[int], None]  # called with the number of rows added so far

faiss: Any = faiss_with_stubs

_SPELLED = re.compile(r"(?:PCA(?P<width>[1-9]\d*),)?(?P<inner>.+)")
# Codes that do not depend on the list's centroid; FAISS's RaBitQ does.
_LISTS = re.compile(r"IVF[1-9]\d*,(?:Flat|SQ(?:4|6|8|fp16)|PQ\d+x4fs(?:r|_\d+)*)")
_CHUNK = 65_536
_SAMPLE = 131_072  # rows that codes are trained on, at least
_SAMPLE_A_LIST = 32  # with 64, the share scanned for a recall of .99 is the same, and training takes twice as long
_ITERATIONS = 8
_SEED = 1234
_ID_BYTES, _LINK_BYTES = 8, 4


def bytes_of_a_vector(factory: str, d: int) -> float:
    """About how many bytes an index takes for each vector: its code, its id in a list, its links in a graph."""
    spelled = _SPELLED.fullmatch(factory)
    width = int(spelled["width"]) if spelled is not None and spelled["width"] else d
    inner = factory if spelled is None else spelled["inner"]
    whole = faiss.index_factory(width, inner, faiss.METRIC_INNER_PRODUCT)  # owns what is behind a rotation
    index = faiss.downcast_index(whole.index) if isinstance(whole, faiss.IndexPreTransform) else whole
    if isinstance(index, faiss.IndexIVF):
        return float(index.code_size + _ID_BYTES)
    if isinstance(index, faiss.IndexHNSW):
        return float(index.storage.sa_code_size() + index.hnsw.nb_neighbors(0) * _LINK_BYTES + _ID_BYTES)
    return float(index.sa_code_size())


def build_index(vectors: Array, factory: str, progress: Progress | None = None) -> Any:
    """Train and fill an index of vectors (n, d), which may be memory-mapped; RuntimeError where FAISS refuses."""
    spelled = _SPELLED.fullmatch(factory)
    if spelled is None or spelled["width"] is None:
        return _filled(vectors, factory, None, progress)
    axes = _principal_axes(_sample(vectors, _SAMPLE), int(spelled["width"]))  # (d, width)
    inner = _filled(vectors, spelled["inner"], axes, progress)
    return faiss.IndexPreTransform(_projection(axes), inner)


def _filled(vectors: Array, factory: str, axes: Array | None, progress: Progress | None) -> Any:
    d = vectors.shape[1] if axes is None else axes.shape[1]
    index = faiss.index_factory(d, factory, faiss.METRIC_INNER_PRODUCT)
    by_direction = _LISTS.fullmatch(factory) is not None
    if not index.is_trained:
        n = max(_SAMPLE, _SAMPLE_A_LIST * index.nlist if by_direction else 0)
        sample = _projected(_sample(vectors, n), axes)
        _train(index, sample, by_direction=by_direction)
        if len(sample) < len(vectors):
            _widen_ranges(index, vectors, axes)
    at_once = len(vectors) if isinstance(index, faiss.IndexNSG) else _CHUNK  # NSG takes its vectors at once
    norms = np.empty(len(vectors), np.float32)
    for start, chunk in _chunks(vectors, axes, at_once):
        index.add(chunk)
        norms[start : start + len(chunk)] = np.linalg.norm(chunk, axis=1)
        if progress is not None:
            progress(start + len(chunk))
    if by_direction:
        _bound_lists(index, norms)
    return index


def _train(index: Any, sample: Array, *, by_direction: bool) -> None:
    if by_direction:
        index.quantizer.add(_directions(sample, index.nlist))
        index.by_residual = False  # the centroids change after the vectors are added
    index.train(sample)


def _widen_ranges(index: Any, vectors: Array, axes: Array | None) -> None:
    """Let scalar codes reach from the least to the largest value of all vectors: the longest ones score most."""
    codes = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
    if not hasattr(codes, "sq"):
        return
    extremes = [(rows.min(axis=0), rows.max(axis=0)) for _, rows in _chunks(vectors, axes, _CHUNK)]
    low, high = np.min([a for a, _ in extremes], axis=0), np.max([b for _, b in extremes], axis=0)
    codes.sq.train(np.stack([low, high]))


def _directions(sample: Array, n: int) -> Array:
    """Unit centroids (n, d) of the sample's directions."""
    parameters = faiss.ClusteringParameters()
    parameters.spherical, parameters.niter, parameters.seed = True, _ITERATIONS, _SEED
    parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, _SAMPLE_A_LIST
    clustering = faiss.Clustering(sample.shape[1], n, parameters)
    clustering.train(unit_rows(sample), faiss.IndexFlatIP(sample.shape[1]))
    centroids: Array = faiss.vector_to_array(clustering.centroids).reshape(n, -1)
    return unit_rows(centroids)


def _bound_lists(index: Any, norms: Array) -> None:
    """Multiply each list's centroid by the largest of the norms (n,) of its vectors; 0 for an empty list."""
    largest = np.zeros((index.nlist, 1), np.float32)
    lists = index.invlists
    for number in range(index.nlist):
        if size := lists.list_size(number):
            largest[number] = norms[faiss.rev_swig_ptr(lists.get_ids(number), size)].max()
    centroids = index.quantizer.reconstruct_n(0, index.nlist)
    index.quantizer.reset()
    index.quantizer.add(centroids * largest)


def _principal_axes(sample: Array, width: int) -> Array:
    """The axes (d, width) along which inner products of the sample's rows are largest."""
    if width > sample.shape[1]:
        raise RuntimeError(f"PCA{width}: vectors have only {sample.shape[1]} dimensions")
    wide = sample.astype(np.float64)
    _, axes = np.linalg.eigh(wide.T @ wide)
    return np.ascontiguousarray(axes[:, ::-1][:, :width], np.float32)


def _projection(axes: Array) -> Any:
    d, width = axes.shape
    transform = faiss.LinearTransform(d, width, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(axes.T).ravel(), transform.A)
    transform.is_trained = True
    transform.set_is_orthonormal()
    return transform


def _sample(vectors: Array, n: int) -> Array:
    """At most n rows, in order, evenly drawn."""
    if len(vectors) <= n:
        return np.ascontiguousarray(vectors)
    rows = np.random.default_rng(_SEED).choice(len(vectors), n, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])


def _chunks(vectors: Array, axes: Array | None, at_once: int) -> Iterator[tuple[int, Array]]:
    for start in range(0, len(vectors), at_once):
        yield start, _projected(vectors[start : start + at_once], axes)


def _projected(rows: Array, axes: Array | None) -> Array:
    return np.ascontiguousarray(rows if axes is None else rows @ axes)
