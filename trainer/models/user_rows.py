"""Sparse rows of users, of which only sums over users are taken.

They are computed for some users at a time, so no block has a row for every user; and where each rank of several has the
interactions of its own users, the sums are over all ranks.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from trainer.graph import SparseMatrix
from trainer.models.gram import gram
from trainer.parallel import WHOLE, Share, sum_over_ranks

_ROWS_AT_ONCE = 65_536


class UserRows:
    """X (n_rows, n_items), rows of this rank's users; the same number of columns on every rank."""

    def __init__(self, matrix: sp.csr_matrix, device: torch.device, share: Share = WHOLE) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self._share, self._device = share, device
        starts = range(0, matrix.shape[0], _ROWS_AT_ONCE)
        self._chunks = [SparseMatrix(matrix[start : start + _ROWS_AT_ONCE], device) for start in starts]

    def normal_times(self, block: Tensor) -> Tensor:
        """X^T X, summed over ranks, times a block (n_items, b)."""
        total = torch.zeros_like(block)
        for rows in self._chunks:
            rows.T.add_product(total, rows @ block)
        return sum_over_ranks(self._share, total)

    def gram_and_sums(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """block^T X^T X block (b, b) in float64, and X^T X block (n_items, b), both summed over ranks."""
        width = block.shape[1]
        squares = torch.zeros(width, width, dtype=torch.float64, device=self._device)
        total = torch.zeros_like(block)
        for rows in self._chunks:
            image = rows @ block
            squares += gram(image, image)
            rows.T.add_product(total, image)
        return sum_over_ranks(self._share, squares), sum_over_ranks(self._share, total)

    def transposed(self) -> Tensor:
        """X^T (n_items, n_rows) as a whole, of users whose rows are empty on all ranks but one."""
        whole = torch.empty(self.shape[1], self.shape[0], device=self._device)
        for part, rows in self._parts():
            whole[:, part] = rows.T @ torch.eye(rows.shape[0], device=self._device)
        return sum_over_ranks(self._share, whole)

    def __matmul__(self, block: Tensor) -> Tensor:
        """(n_rows, b), of this rank's users alone."""
        product = torch.empty(self.shape[0], block.shape[1], dtype=block.dtype, device=self._device)
        for part, rows in self._parts():
            product[part] = rows @ block
        return product

    def _parts(self) -> Iterator[tuple[slice, SparseMatrix]]:
        starts = range(0, self.shape[0], _ROWS_AT_ONCE)
        return zip((slice(start, start + _ROWS_AT_ONCE) for start in starts), self._chunks, strict=True)


class SummedMatrix(SparseMatrix):
    """A matrix of items with items that is a sum over ranks, of which each has its own summand."""

    def __init__(self, matrix: sp.csr_matrix, device: torch.device, share: Share = WHOLE) -> None:
        super().__init__(matrix, device)
        self._share = share

    def row_products(self, dense: Tensor) -> Tensor:
        """As of the sum."""
        return sum_over_ranks(self._share, super().row_products(dense))

    def __matmul__(self, dense: Tensor) -> Tensor:
        return sum_over_ranks(self._share, super().__matmul__(dense))


def column_squares(matrix: sp.csr_matrix, share: Share = WHOLE) -> Tensor:
    """(n_columns,) float32 the diagonal of X^T X, summed over ranks."""
    squares = np.bincount(matrix.indices, weights=np.square(matrix.data, dtype=np.float64), minlength=matrix.shape[1])
    return sum_over_ranks(share, torch.from_numpy(squares)).float()
