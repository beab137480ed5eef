"""Builds FAISS indexes that are right for inner product: trained on a sample, filled in chunks.

`IVFn,Flat` and `IVFn,SQ...`: lists are made by k-means over vectors with one more dimension that makes all equally
long, so that long vectors, which score most, share lists with their like. A list is probed by what its best vector may
score: the query's inner product with the list's direction times the largest projection in it, plus a share of its
radius. `PCAn,...`: a projection onto the first n axes of the second moment, without the mean that FAISS's PCA subtracts
and which would change inner products. Other factory strings are built as FAISS does.
docs/decisions/lists-for-inner-product.md has the reasons.
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
_LISTS = re.compile(r"IVF(?P<nlist>[1-9]\d*),(?P<codes>Flat|SQ4|SQ6|SQ8|SQfp16)")
_CHUNK = 65_536
_SAMPLE = 131_072  # rows that codes are trained on, at least
_SAMPLE_A_LIST = 64  # with 32, a third more must be scanned for the same recall
_RADIUS_SHARE = 0.2  # .15 to .25 scan least, of generated and of trained vectors (docs/measurements/search.md)
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
    if spelled := _LISTS.fullmatch(factory):
        return _filled_lists(_empty_lists(d, int(spelled["nlist"]), spelled["codes"]), vectors, axes, progress)
    index = faiss.index_factory(d, factory, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        _train(index, vectors, axes, _SAMPLE)
    at_once = len(vectors) if isinstance(index, faiss.IndexNSG) else _CHUNK  # NSG takes its vectors at once
    for start, chunk in _chunks(vectors, axes, at_once):
        index.add(chunk)
        _tell(progress, start + len(chunk))
    return index


def _train(index: Any, vectors: Array, axes: Array | None, n: int) -> Array:
    """Train on a sample of n rows, which is returned."""
    sample = _projected(_sample(vectors, n), axes)
    index.train(sample)
    if len(sample) < len(vectors):
        _widen_ranges(index, vectors, axes)
    return sample


def _empty_lists(d: int, nlist: int, codes: str) -> Any:
    """An IVF index whose quantizer sees a query q as (q, 1): the last number of a list's entry adds to its score."""
    to_pair = faiss.LinearTransform(d, d + 1, True)
    faiss.copy_array_to_vector(np.eye(d + 1, d, dtype=np.float32).ravel(), to_pair.A)
    faiss.copy_array_to_vector(np.eye(1, d + 1, d, dtype=np.float32).ravel(), to_pair.b)
    to_pair.is_trained = True
    entries = faiss.IndexFlatIP(d + 1)
    entries.add(np.zeros((nlist, d + 1), np.float32))  # until the lists are full
    quantizer = faiss.IndexPreTransform(to_pair, entries)
    if codes == "Flat":
        return faiss.IndexIVFFlat(quantizer, d, nlist, faiss.METRIC_INNER_PRODUCT)
    kind = {"SQ4": "QT_4bit", "SQ6": "QT_6bit", "SQ8": "QT_8bit", "SQfp16": "QT_fp16"}[codes]
    kind = getattr(faiss.ScalarQuantizer, kind)
    return faiss.IndexIVFScalarQuantizer(quantizer, d, nlist, kind, faiss.METRIC_INNER_PRODUCT, False)


def _filled_lists(index: Any, vectors: Array, axes: Array | None, progress: Progress | None) -> Any:
    sample = _train(index, vectors, axes, max(_SAMPLE, _SAMPLE_A_LIST * index.nlist))
    length = max(float(np.linalg.norm(chunk, axis=1).max()) for _, chunk in _chunks(vectors, axes, _CHUNK))
    nearest = faiss.IndexFlatL2(index.d + 1)
    nearest.add(_centroids(_equally_long(sample, length), index.nlist))
    lists = np.empty(len(vectors), np.int64)
    for start, chunk in _chunks(vectors, axes, _CHUNK):
        of_chunk = nearest.search(_equally_long(chunk, length), 1)[1][:, 0]
        rows = np.arange(start, start + len(chunk))
        index.add_core(len(chunk), *map(faiss.swig_ptr, (chunk, rows, of_chunk)))
        lists[rows] = of_chunk
        _tell(progress, start + len(chunk))
    entries = faiss.downcast_index(faiss.downcast_index(index.quantizer).index)
    entries.reset()
    entries.add(_entries(vectors, axes, lists, index.nlist))
    return index


def _entries(vectors: Array, axes: Array | None, lists: Array, nlist: int) -> Array:
    """What a query (q, 1) is multiplied with (nlist, d + 1): direction times largest projection, and radius."""
    centres = _means(vectors, axes, lists, nlist)
    directions = unit_rows(centres)
    projection, radius = np.zeros(nlist, np.float32), np.zeros(nlist, np.float32)
    for start, chunk in _chunks(vectors, axes, _CHUNK):
        of_chunk = lists[start : start + len(chunk)]
        np.maximum.at(projection, of_chunk, np.einsum("nd,nd->n", chunk, directions[of_chunk]))
        np.maximum.at(radius, of_chunk, np.linalg.norm(chunk - centres[of_chunk], axis=1))
    return np.hstack([directions * projection[:, None], _RADIUS_SHARE * radius[:, None]])


def _means(vectors: Array, axes: Array | None, lists: Array, nlist: int) -> Array:
    """The mean (nlist, d) of each list's vectors; zeros for an empty list."""
    sums: Array | None = None
    for start, chunk in _chunks(vectors, axes, _CHUNK):
        of_chunk = lists[start : start + len(chunk)]
        order = np.argsort(of_chunk, kind="stable")
        numbers, firsts = np.unique(of_chunk[order], return_index=True)
        sums = np.zeros((nlist, chunk.shape[1])) if sums is None else sums
        sums[numbers] += np.add.reduceat(chunk[order], firsts, axis=0)
    counts = np.bincount(lists, minlength=nlist)
    means: Array = (sums / np.maximum(1, counts)[:, None]).astype(np.float32)
    return means


def _equally_long(rows: Array, length: float) -> Array:
    """Rows (n, d + 1) of one length, of rows (n, d) that are at most so long."""
    missing = np.sqrt(np.maximum(0, length**2 - np.einsum("nd,nd->n", rows, rows)))
    return np.hstack([rows, missing[:, None]]).astype(np.float32)


def _centroids(sample: Array, n: int) -> Array:
    """The centroids (n, d) of k-means."""
    parameters = faiss.ClusteringParameters()
    parameters.niter, parameters.seed = _ITERATIONS, _SEED
    parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, _SAMPLE_A_LIST
    clustering = faiss.Clustering(sample.shape[1], n, parameters)
    clustering.train(sample, faiss.IndexFlatL2(sample.shape[1]))
    centroids: Array = faiss.vector_to_array(clustering.centroids).reshape(n, -1)
    return centroids


def _tell(progress: Progress | None, n: int) -> None:
    if progress is not None:
        progress(n)


def _widen_ranges(index: Any, vectors: Array, axes: Array | None) -> None:
    """Let scalar codes reach from the least to the largest value of all vectors: the longest ones score most."""
    codes = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
    if not hasattr(codes, "sq"):
        return
    extremes = [(rows.min(axis=0), rows.max(axis=0)) for _, rows in _chunks(vectors, axes, _CHUNK)]
    low, high = np.min([a for a, _ in extremes], axis=0), np.max([b for _, b in extremes], axis=0)
    codes.sq.train(np.stack([low, high]))


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
