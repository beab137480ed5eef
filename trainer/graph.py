"""The two graphs of a multimodal recommender: users with items, and items with items alike in one modality."""

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from trainer.nearest import Nearest

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

    @cached_property
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


def item_graph(nearest: Nearest) -> sp.csr_matrix:
    """KW_k (MODELS.md, section 2): cosine-weighted kNN graph of items, scaled by row sums on both sides.

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
    graph = sp.csr_matrix((values.ravel().astype(np.float32), nearest.rows.ravel(), indptr), shape=(n_items, n_items))
    graph.sort_indices()
    return graph
