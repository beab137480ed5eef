"""Each item's nearest items by cosine: exactly, and for large catalogues by an inverted file."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, Protocol

import faiss
import numpy as np
import torch

from index.ranking import unit_rows
from trainer.progress import print_status, track

Array = np.ndarray[Any, np.dtype[Any]]
Search = Literal["auto", "exact", "approximate"]


class Rows(Protocol):
    """A table of numbers (n, width) of which only some rows are read at a time, as of an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, width)"""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Array, /) -> Array: ...


EXACT_UP_TO = 50_000
"""Distinct items up to which `auto` is exact: 35 s for 768 columns on two cores, and it grows with the square."""
MIN_RECALL = 0.95
"""Share of the true neighbours that an approximate search must find on its sample, or it looks into more lists."""
SAMPLE = 512
"""Items whose neighbours are also sought exactly, to choose how many lists to look into and to measure the recall."""

_ROWS_PER_LIST_IN_TRAINING = 40
_LISTS_PER_ROOT = 2.0  # of the number of items: measured quickest among 1, 2 and 4
_LARGEST_SHARE_OF_LISTS = 1 / 2
"""Beyond it the exact search is as fast."""
_BLAS_FROM = 128_000
"""Queries at once from which FAISS multiplies matrices: its default, which a search of an index replaces."""
_COSINE = faiss.METRIC_INNER_PRODUCT  # of unit rows
_BLOCK = 4096
"""Items whose features are scaled, or whose candidates are sorted, at once: bounds memory, not the result."""
_QUERIES_AT_ONCE = 65_536
_QUERIES_OF_A_LIST = 1024


class Nearest(NamedTuple):
    """The nearest items of every item, itself first."""

    rows: Array
    """(n_items, k) int64"""
    cosines: Array
    """(n_items, k) float32, descending."""
    recall: float
    """Share of the true neighbours found, measured on a sample; 1 for an exact search."""


def nearest_items(features: Rows, k: int, search: Search = "auto") -> Nearest:
    """Each item's k nearest by cosine, itself always first; the result does not depend on how FAISS breaks ties.

    Items with equal features (a shared mean vector, one picture used twice) form one group that is searched once
    and opened in row order, so exact ties fall by lower row. Features are read in blocks: one float32 copy of
    the distinct rows is made, and nothing else of their width.

    Args:
        features: (n_items, width) float of any precision, in memory, memory-mapped or made on access.
        k: at most n_items are returned.
        search: `auto` is exact for up to EXACT_UP_TO distinct items.
    """
    faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM  # cosines differ in their last bits between the two ways
    k = min(k, len(features))
    groups = _group_equal_rows(features)
    exact = search == "exact" or (search == "auto" and len(groups) <= EXACT_UP_TO)
    find = _exact if exact else _approximate
    near, cosines, recall = find(_DistinctRows(features, groups.first), min(k, len(groups)))
    _keep_itself(near, cosines)
    opened = [_open_groups(np.arange(len(features))[part], near, cosines, groups, k) for part in _blocks(len(features))]
    rows, scores = zip(*opened, strict=True)
    return Nearest(np.concatenate(rows), np.concatenate(scores), recall)


def _blocks(n: int, size: int = _BLOCK) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


class _DistinctRows:
    """Chosen rows of a table of features as unit rows, computed on access."""

    def __init__(self, features: Rows, rows: Array) -> None:
        self._features, self._rows = features, rows
        self.width = features.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: slice | Array) -> Array:
        return unit_rows(np.asarray(self._features[self._rows[places]], dtype=np.float32))


# Two searches: (distinct rows, k) -> near (n, k) int64, cosines (n, k) float32, recall


def _exact(distinct: _DistinctRows, k: int) -> tuple[Array, Array, float]:
    index = faiss.IndexFlatIP(distinct.width)
    for part in _blocks(len(distinct)):
        index.add(distinct[part])
    vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
    parts = list(_blocks(len(distinct), _QUERIES_AT_ONCE))
    cosines, near = zip(*(index.search(vectors[part], k) for part in track(parts, "item graph, exact")), strict=True)
    return np.concatenate(near), np.concatenate(cosines), 1.0


def _approximate(distinct: _DistinctRows, k: int) -> tuple[Array, Array, float]:
    """Search for the neighbours of a list's items in the lists nearest to it, by one matrix product a list."""
    lists = _Lists(distinct)
    n_near, recall = lists.needed(k)
    if n_near > len(lists) * _LARGEST_SHARE_OF_LISTS:
        print_status(
            f"item graph: {MIN_RECALL:.0%} of the neighbours lie in {n_near} of {len(lists)} lists: exact search"
        )
        return _exact(distinct, k)
    print_status(f"item graph: {recall:.1%} of the neighbours of an item lie in {n_near} of {len(lists)} lists")
    near, cosines = np.empty((len(distinct), k), np.int64), np.empty((len(distinct), k), np.float32)
    for number in track(range(len(lists)), "item graph, approximate"):
        candidates = lists.candidates(number, n_near, k)
        vectors = torch.from_numpy(lists.vectors[candidates])
        for own in lists.places(number):
            scores, found = (torch.from_numpy(lists.vectors[own]) @ vectors.T).topk(k)
            near[lists.rows[own]], cosines[lists.rows[own]] = lists.rows[candidates[found.numpy()]], scores.numpy()
    return near, cosines, recall


class _Lists:
    """Rows by the k-means centroid that they are nearest to, list after list: an inverted file.

    FAISS's own scans a list once a query. All rows are queries here, and those of one list share their candidates, so
    that matrix products do the work and no row finds fewer than k.
    """

    def __init__(self, distinct: _DistinctRows) -> None:
        centroids = _centroids(distinct)
        nearest = [faiss.knn(distinct[part], centroids, 1, _COSINE)[1][:, 0] for part in _blocks(len(distinct))]
        list_of = np.concatenate(nearest)
        self.rows = np.argsort(list_of, kind="stable")
        self.list_of = list_of[self.rows]
        self.vectors = np.empty((len(distinct), distinct.width), np.float32)
        for part in _blocks(len(distinct)):
            self.vectors[part] = distinct[self.rows[part]]
        self._bounds = np.searchsorted(self.list_of, np.arange(len(centroids) + 1))
        self._order = _by_nearness(centroids)

    def __len__(self) -> int:
        return len(self._order)

    def places(self, number: int) -> Iterator[slice]:
        """Where `rows` and `vectors` hold one list, in blocks: nothing bounds how many items k-means puts together."""
        start, stop = self._bounds[number], self._bounds[number + 1]
        return (slice(start + part.start, start + part.stop) for part in _blocks(stop - start, _QUERIES_OF_A_LIST))

    def candidates(self, number: int, n_near: int, k: int) -> Array:
        """Places of the rows of the `n_near` lists nearest to one, itself the first; of more where they lack k rows."""
        enough = np.searchsorted(np.cumsum(np.diff(self._bounds)[self._order[number]]), k) + 1
        chosen = self._order[number, : max(n_near, enough)]
        return np.concatenate([np.arange(self._bounds[near], self._bounds[near + 1]) for near in chosen])

    def needed(self, k: int) -> tuple[int, float]:
        """How many lists hold MIN_RECALL of the true neighbours of a sample of items, and what share they do hold."""
        sample = _evenly_spaced(len(self.rows), SAMPLE)
        _, found = faiss.knn(self.vectors[sample], self.vectors, k, _COSINE)
        rank = np.argsort(self._order, axis=1)[self.list_of[sample][:, None], self.list_of[found]]
        rank = rank[found != sample[:, None]]
        n_near = int(np.quantile(rank, MIN_RECALL, method="higher")) + 1 if rank.size else 1
        return n_near, float(np.mean(rank < n_near)) if rank.size else 1.0


def _centroids(distinct: _DistinctRows) -> Array:
    """Centroids of spherical k-means with FAISS's constant seed, over evenly spaced rows."""
    n_lists = max(1, min(int(_LISTS_PER_ROOT * len(distinct) ** 0.5), len(distinct) // _ROWS_PER_LIST_IN_TRAINING))
    kmeans = faiss.Kmeans(distinct.width, n_lists, niter=10, spherical=True, min_points_per_centroid=1)
    kmeans.train(distinct[_evenly_spaced(len(distinct), n_lists * _ROWS_PER_LIST_IN_TRAINING)])
    return np.asarray(kmeans.centroids)


def _by_nearness(centroids: Array) -> Array:
    """(n, n) the lists by nearness to each list, itself first."""
    cosines = centroids @ centroids.T
    np.fill_diagonal(cosines, np.inf)
    order: Array = np.argsort(-cosines, axis=1, kind="stable")
    return order


def _evenly_spaced(n: int, at_most: int) -> Array:
    return np.linspace(0, n - 1, min(n, at_most)).astype(np.int64)


def _keep_itself(near: Array, cosines: Array) -> None:
    """Set the own group's cosine to 1; put the group last where rounding let others of cosine 1 displace it."""
    own = np.arange(len(near))
    lost = ~(near == own[:, None]).any(axis=1)
    near[lost, -1] = own[lost]
    cosines[near == own[:, None]] = 1.0


# Groups of items with equal features


class _Groups:
    """Items with equal features: of[row], each group's first row, and its first members, padded with -1."""

    def __init__(self, first: Array, group_of: Array, sizes: Array) -> None:
        self.first, self.of = first, group_of
        self._sizes = sizes
        self._members = np.argsort(group_of, kind="stable")
        self._starts = np.cumsum(sizes) - sizes

    def __len__(self) -> int:
        return len(self.first)

    def first_members(self, groups: Array, limit: int) -> Array:
        """The up to `limit` lowest rows of each group: (..., width) with width no more than any group needs."""
        width = np.arange(min(limit, int(self._sizes[groups].max())))
        places = np.minimum(self._starts[groups][..., None] + width, len(self._members) - 1)
        return np.where(width < self._sizes[groups][..., None], self._members[places], -1)


def _group_equal_rows(features: Rows) -> _Groups:
    """Groups in order of first appearance; rows are equal if they are equal once scaled to length one."""
    digests = np.concatenate([_digests(features[part]) for part in _blocks(len(features))])
    _, first, inverse, counts = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
    by_appearance = np.argsort(first, kind="stable")
    rank = np.empty_like(by_appearance)
    rank[by_appearance] = np.arange(len(by_appearance))
    return _Groups(first[by_appearance], rank[inverse.ravel()], counts[by_appearance])


def _digests(features: Array) -> Array:
    """(n,) 128-bit digests of unit rows."""
    unit = unit_rows(np.asarray(features, dtype=np.float32))
    return np.array([blake2b(row, digest_size=16).digest() for row in unit], dtype="V16")


def _open_groups(rows: Array, near: Array, cosines: Array, groups: _Groups, k: int) -> tuple[Array, Array]:
    """The k nearest items of each of `rows`, from the nearest groups of its group; itself first, ties by row."""
    own = groups.of[rows]
    candidates = groups.first_members(near[own], limit=k)  # (b, k groups, width)
    scores = np.broadcast_to(cosines[own][..., None], candidates.shape).reshape(len(rows), -1).copy()
    candidates = candidates.reshape(len(rows), -1)
    scores[(candidates < 0) | (candidates == rows[:, None])] = -np.inf
    order = np.lexsort((candidates, -scores), axis=1)[:, : k - 1]
    nearest = np.take_along_axis(candidates, order, axis=1)
    ones = np.ones((len(rows), 1), dtype=np.float32)
    return (
        np.concatenate([rows[:, None], nearest], axis=1),
        np.concatenate([ones, np.take_along_axis(scores, order, axis=1)], axis=1),
    )
