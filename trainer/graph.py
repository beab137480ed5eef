"""The two graphs of a multimodal recommender: users with items, and items with items alike in one modality."""

import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from index.ranking import unit_rows
from trainer.nearest import Nearest

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS_AT_ONCE = 512  # of similarities between all items


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

    @cached_property
    def row_and_column_sums(self) -> Tensor:
        """(n,) row sum plus column sum of a square matrix."""
        ones = torch.ones(self.shape[0], 1, device=self._forward.device)
        return (self._forward @ ones + self._backward @ ones)[:, 0]

    def row_products(self, dense: Tensor) -> Tensor:
        """(n,) the sum over each row of its entries times those of `dense`, which has the same shape."""
        counts = self._forward.crow_indices().diff()
        rows = torch.repeat_interleave(torch.arange(self.shape[0], device=counts.device), counts)
        products = self._forward.values() * dense[rows, self._forward.col_indices()]
        return torch.zeros(self.shape[0], device=counts.device).index_add_(0, rows, products)

    def add_product(self, total: Tensor, dense: Tensor) -> None:
        """Add the product with `dense` to `total`, in place; without gradient."""
        torch.addmm(total, self._forward, dense, out=total)

    def __matmul__(self, dense: Tensor) -> Tensor:
        product: Tensor = _Product.apply(self._forward, self._backward, dense)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    """matrix @ dense, with matrix.T @ gradient as its derivative: torch's own rebuilds the transpose each time."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient.contiguous()


def _to_torch(matrix: sp.csr_matrix, device: torch.device) -> Tensor:
    matrix.sort_indices()
    # Half the memory, and what the products take: with int64 torch converts them each time.
    index_type = np.int32 if matrix.nnz < np.iinfo(np.int32).max else np.int64
    with warnings.catch_warnings():
        # torch warns once a process that its CSR layout is in beta; only the product is used here, and it is tested.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(index_type)),
            torch.from_numpy(matrix.indices.astype(index_type)),
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
    """x^-1/2, and 0 where x is 0 or below."""
    flat = np.asarray(sums, dtype=np.float64).ravel()
    return np.divide(1.0, np.sqrt(np.maximum(flat, 0)), out=np.zeros_like(flat), where=flat > 0)


def item_graph(nearest: Nearest) -> sp.csr_matrix:
    """KW_k (docs/models.md#graphs): cosine-weighted kNN graph of items, scaled by row sums on both sides.

    Both factors are row sums: the graph is directed. A row whose negative cosines outweigh the item's own 1 is
    scaled to 0, where the reference has no number.

    Args:
        nearest: k neighbours of each item, itself included, by features of which no row is all zero.
    """
    n_items, k = nearest.rows.shape
    weights = nearest.cosines.astype(np.float64)
    scale = inverse_root(weights.sum(axis=1))
    values = scale[:, None] * weights * scale[nearest.rows]
    indptr = np.arange(0, n_items * k + 1, k)
    return _square(values.ravel().astype(np.float32), nearest.rows.ravel(), indptr, n_items)


def smoothing_graph(nearest: Nearest, known: Array) -> sp.csr_matrix:
    """W (docs/anchorease.md#equations): cosines of each item's nearest, symmetrised and scaled by row sums.

    Args:
        nearest: k + 1 neighbours of each item, itself the first.
        known: (n_items,) whether the item has features; one without has no neighbours.
    """
    n_items, width = nearest.rows.shape
    rows, others = np.repeat(np.arange(n_items), width - 1), nearest.rows[:, 1:].ravel()
    values = np.maximum(nearest.cosines[:, 1:].ravel().astype(np.float64), 0) * known[rows] * known[others]
    directed = sp.csr_matrix((values, (rows, others)), shape=(n_items, n_items))
    directed.eliminate_zeros()
    both = (directed + directed.T) / 2
    scale = sp.diags(inverse_root(both.sum(axis=1)))
    return (scale @ both @ scale).tocsr()


def binary_graph(nearest: Nearest) -> sp.csr_matrix:
    """KB_k (docs/models.md#graphs): each item's k nearest with the same value 1/k, itself included."""
    n_items, k = nearest.rows.shape
    indptr = np.arange(0, n_items * k + 1, k)
    values = np.full(n_items * k, 1.0 / k, np.float32)
    return _square(values, nearest.rows.ravel(), indptr, n_items)


def union_graph(one: sp.csr_matrix, other: sp.csr_matrix) -> sp.csr_matrix:
    """The edges of both; an edge of both has the larger of its values, an edge of one keeps its own."""
    in_both = one.astype(bool).multiply(other.astype(bool))
    larger = one.maximum(other).multiply(in_both)
    only_one, only_other = one - one.multiply(in_both), other - other.multiply(in_both)
    return (larger + only_one + only_other).tocsr().astype(np.float32)


def by_row_counts(edges: sp.csr_matrix) -> sp.csr_matrix:
    """Every stored edge (i, j) with the value (r_i r_j)^-1/2, where r are the entries of a row."""
    binary = sp.csr_matrix((np.ones(len(edges.indices)), edges.indices, edges.indptr), shape=edges.shape)
    scale = sp.diags(inverse_root(binary.sum(axis=1)))
    return (scale @ binary @ scale).tocsr().astype(np.float32)


def companion_graph(interactions: sp.csr_matrix, n_companions: int, min_shared: int) -> sp.csr_matrix:
    """Edges of DA-MRS's behaviour graph (docs/models.md#da-mrs): an item, and those that shared the most users with it.

    Args:
        interactions: R (n_users, n_items), binary.
        n_companions: at most so many an item; among equals the lower row.
        min_shared: users that two items must at least have in common.
    """
    n_items = interactions.shape[1]
    by_item = interactions.T.tocsr()
    chosen: list[Array] = []
    for start in range(0, n_items, _ROWS_AT_ONCE):
        shared = (by_item[start : start + _ROWS_AT_ONCE] @ interactions).tocsr()
        shared.sort_indices()
        for row in range(shared.shape[0]):
            begin, end = shared.indptr[row], shared.indptr[row + 1]
            items, counts = shared.indices[begin:end], shared.data[begin:end]
            fit = (items != start + row) & (counts >= min_shared)
            best = np.argsort(-counts[fit], kind="stable")[:n_companions]
            chosen.append(np.concatenate([[start + row], items[fit][best]]))
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in chosen])])
    return _square(np.ones(indptr[-1], np.float32), np.concatenate(chosen), indptr, n_items)


def agreement_graphs(one: Array, other: Array, k: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Edges of DA-MRS's denoised content graphs (docs/models.md#da-mrs): pairs that are alike in both modalities.

    A pair is kept where its cosine reaches the mean over all pairs in both; of what is left an item gets its k
    nearest in each modality. Similarities are made a block of rows at a time, never all at once.

    Args:
        one, other: features (n_items, width) of the two modalities; the answer is in the same order.
    """
    units = [unit_rows(features) for features in (one, other)]
    means = [float(np.square(unit.sum(axis=0, dtype=np.float64)).sum()) / len(unit) ** 2 for unit in units]
    found: tuple[list[Array], list[Array]] = ([], [])
    for start in range(0, len(one), _ROWS_AT_ONCE):
        cosines = [unit[start : start + _ROWS_AT_ONCE] @ unit.T for unit in units]  # (block, n_items) each
        kept = (cosines[0] >= means[0]) & (cosines[1] >= means[1])
        allowed = np.minimum(np.count_nonzero(kept & (cosines[1] != 0), axis=1), k)  # (block,)
        for rows, values in zip(found, cosines, strict=True):
            rows.extend(_largest(np.where(kept, values, 0.0), allowed))
    graphs = []
    for rows in found:
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        graphs.append(_square(np.ones(indptr[-1], np.float32), np.concatenate(rows), indptr, len(one)))
    return graphs[0], graphs[1]


def _largest(values: Array, counts: Array) -> Iterator[Array]:
    """For each row of values the columns of its counts[row] largest, among equals the lower column first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, : counts.max(initial=0)]
    yield from (row[:count] for row, count in zip(order, counts, strict=True))


def _square(values: Array, columns: Array, indptr: Array, n: int) -> sp.csr_matrix:
    graph = sp.csr_matrix((values, columns, indptr), shape=(n, n))
    graph.sort_indices()
    return graph
