"""Inner products of the columns of two blocks."""

import torch
from torch import Tensor

_ROWS_AT_ONCE = 16_384
"""Rows of a block that are in float64 at the same time."""


def gram(one: Tensor, other: Tensor) -> Tensor:
    """one^T other (b, c) in float64, a slice of rows at a time."""
    total = torch.zeros(one.shape[1], other.shape[1], dtype=torch.float64, device=one.device)
    for start in range(0, len(one), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        total += one[rows].double().T @ other[rows].double()
    return total
