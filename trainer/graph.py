"""The two graphs of a multimodal recommender: users with items, and items with items alike in one modality."""

import warnings
from typing import Any

import faiss
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class SparseMatrix:
    """A constant sparse matrix that dense tensors can be multiplied by; its transpose serves the backward pass."""

    def __init__(self, matrix: sp.csr_matrix, device: torch.device) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self._forward = _to_torch(matrix, device)
        self._backward = _to_torch(matrix.T.tocsr(), device)

    @property
    def T(self) -> "SparseMatrix":  # noqa: N802 - the name that numpy, scipy and torch give it
        """The transpose, sharing storage."""
        transposed = object.__new__(SparseMatrix)
        transposed.shape = (self.shape[1], self.shape[0])
        transposed._forward, transposed._backward = self._backward, self._forward
        return transposed

    @property
    def n_entries(self) -> int:
        """Stored entries."""
        return self._forward.values().numel()

    @property
    def row_and_column_sums(self) -> Tensor:
        """(n,) row sum plus column sum of a square matrix."""
        ones = torch.ones(self.shape[0], 1, device=self._forward.device)
        return (self._forward @ ones + self._backward @ ones)[:, 0]

    def __matmul__(self, dense: Tensor) -> Tensor:
        product: Tensor = _Product.apply(self._forward, self._backward, dense)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    """matrix @ dense, with matrix.T @ gradient as its derivative: torch's own would build the transpose anew."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient.contiguous()


def _to_torch(matrix: sp.csr_matrix, device: torch.device) -> Tensor:
    matrix.sort_indices()
    with warnings.catch_warnings():
        # torch says once a process that its CSR layout is in beta; only the product is used here, and it is tested.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            device=device,
            check_invariants=True,
        )


def interaction_matrix(user_rows: Array, item_rows: Array, n_users: int, n_items: int) -> sp.csr_matrix:
    """R with R_ui = 1 where user u has item i in training; a repeated pair counts once."""
    ones = np.ones(len(user_rows), dtype=np.float64)
    matrix = sp.csr_matrix((ones, (user_rows, item_rows)), shape=(n_users, n_items))
    matrix.data[:] = 1.0
    return matrix


def normalise_interactions(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """R-hat with entries 1 / sqrt(d_u d_i): the user x item block of D^-1/2 A D^-1/2 (LightGCN, equation 8)."""
    by_user = sp.diags(inverse_root(matrix.sum(axis=1)))
    by_item = sp.diags(inverse_root(matrix.sum(axis=0)))
    return (by_user @ matrix @ by_item).tocsr().astype(np.float32)


def inverse_root(sums: Any) -> Array:
    """x^-1/2, and 0 where x is 0."""
    flat = np.asarray(sums, dtype=np.float64).ravel()
    return np.divide(1.0, np.sqrt(flat), out=np.zeros_like(flat), where=flat > 0)


def item_graph(features: Array, k: int) -> sp.csr_matrix:
    """KW_k (MODELS.md, section 2): cosine-weighted kNN graph of items, scaled by row sums on both sides.

    Both factors are row sums: the graph is directed. A row whose negative cosines outweigh the item's own 1 is
    scaled to 0, where the reference has no number.

    Args:
        features: (n_items, width), no row all zero.
        k: neighbours of an item, itself included.
    """
    rows, cosines = nearest_items(features, k)
    n_items, k = rows.shape
    weights = cosines.astype(np.float64)
    scale = inverse_root(weights.sum(axis=1))
    values = scale[:, None] * weights * scale[rows]
    indptr = np.arange(0, n_items * k + 1, k)
    graph = sp.csr_matrix((values.ravel().astype(np.float32), rows.ravel(), indptr), shape=(n_items, n_items))
    graph.sort_indices()
    return graph


def nearest_items(features: Array, k: int) -> tuple[Array, Array]:
    """Each item's k nearest by cosine, itself always first; the answer does not depend on how FAISS breaks ties.

    Items with equal features (a shared mean vector, one picture used twice) form one group that is searched once
    and opened in row order, so exact ties fall by lower row.

    Args:
        features: (n_items, width) float.
        k: at most n_items are returned.

    Returns:
        Item rows (n_items, k) int64 and cosines (n_items, k) float32, descending.
    """
    unit = unit_rows(np.asarray(features, dtype=np.float32))
    k = min(k, len(unit))
    distinct, groups = _group_equal_rows(unit)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(distinct)
    cosines, near = index.search(distinct, min(k, len(distinct)))
    cosines[near == np.arange(len(distinct))[:, None]] = 1.0
    blocks = [
        _open_groups(np.arange(start, min(start + _BLOCK, len(unit))), near, cosines, groups, k)
        for start in range(0, len(unit), _BLOCK)
    ]
    rows, scores = zip(*blocks, strict=True)
    return np.concatenate(rows), np.concatenate(scores)


_BLOCK = 4096
"""Items whose candidates are sorted at once: bounds memory, not the result."""


class _Groups:
    """Items with equal features: group_of[row], and the first members of each group, padded with -1."""

    def __init__(self, group_of: Array, sizes: Array) -> None:
        self.of = group_of
        self._sizes = sizes
        self._members = np.argsort(group_of, kind="stable")
        self._starts = np.cumsum(sizes) - sizes

    def first_members(self, groups: Array, limit: int) -> Array:
        """The up to `limit` lowest rows of each group: (..., width) with width no more than any group needs."""
        width = np.arange(min(limit, int(self._sizes[groups].max())))
        places = np.minimum(self._starts[groups][..., None] + width, len(self._members) - 1)
        return np.where(width < self._sizes[groups][..., None], self._members[places], -1)


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


def unit_rows(features: Array) -> Array:
    """Rows divided by their norm; float32."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.ascontiguousarray(features / np.maximum(norms, 1e-12), dtype=np.float32)


def _group_equal_rows(unit: Array) -> tuple[Array, _Groups]:
    """Distinct rows in order of first appearance, and which rows they stand for."""
    as_bytes = unit.view(np.dtype((np.void, unit.dtype.itemsize * unit.shape[1]))).ravel()
    _, first, inverse, counts = np.unique(as_bytes, return_index=True, return_inverse=True, return_counts=True)
    by_appearance = np.argsort(first, kind="stable")
    rank = np.empty_like(by_appearance)
    rank[by_appearance] = np.arange(len(by_appearance))
    return unit[first[by_appearance]], _Groups(rank[inverse.ravel()], counts[by_appearance])
