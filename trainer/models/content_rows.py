"""The content of items: centred features as rows of unit length, made of what is stored a block of rows at a time."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from trainer.models.base import sum_tensors
from trainer.nearest import Array, Rows

_SMALLEST = 1e-5
"""Length of a centred row, beside the mean length, below which the row is the mean itself and has no direction."""
_ROWS_AT_ONCE = 2_048


def column_mean(features: Tensor) -> Tensor:
    """(width,) float32: what features (n_items, width) of any precision are centred by."""
    total = sum_tensors(block.double().sum(dim=0) for block in torch.split(features, _ROWS_AT_ONCE))
    mean = total / max(len(features), 1)
    return mean.float()


class Content:
    """F (n_items, width) float32 of one modality: features less their column mean, rows of unit length.

    A row is zero where the item has the mean. Features of any precision, memory-mapped ones too, stay as they are.
    """

    def __init__(self, features: Tensor, center: Tensor) -> None:
        self.shape = (features.shape[0], features.shape[1])
        self._features, self.center = features, center
        lengths = [torch.linalg.vector_norm(self._centred(part), dim=1, keepdim=True) for part in self._parts()]
        self._lengths = torch.cat(lengths)  # (n_items, 1)
        self._shortest = _SMALLEST * self._lengths.mean()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> Tensor:
        centred, lengths = self._centred(rows), self._lengths[rows]
        centred.div_(lengths.clamp_min(torch.finfo(lengths.dtype).tiny))
        return centred.masked_fill_(lengths <= self._shortest, 0)

    def _centred(self, rows: slice | Array) -> Tensor:
        return self._features[rows].float() - self.center

    def _parts(self) -> Iterator[slice]:
        return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(self), _ROWS_AT_ONCE))

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Which rows, and those of F."""
        return ((part, self[part]) for part in self._parts())

    def __matmul__(self, other: Tensor) -> Tensor:
        product = torch.empty(len(self), other.shape[1], dtype=other.dtype, device=other.device)
        for part, rows in self.blocks():
            torch.matmul(rows, other, out=product[part])
        return product

    def transposed_times(self, block: Tensor) -> Tensor:
        """F^T times a block (n_items, b): (width, b)."""
        total = torch.zeros(self.shape[1], block.shape[1], dtype=block.dtype, device=block.device)
        for part, rows in self.blocks():
            total.addmm_(rows.T, block[part])
        return total

    def columns(self, some: slice) -> Tensor:
        """Some columns of F."""
        return torch.cat([rows[:, some] for _, rows in self.blocks()])

    @property
    def shortest(self) -> float:
        """The length up to which a centred row is zero."""
        return float(self._shortest)

    @property
    def known(self) -> Tensor:
        """(n_items,) whether a row is not zero: the diagonal of F F^T."""
        return (self._lengths > self._shortest)[:, 0]

    def on_cpu(self) -> Rows:
        """Its rows as numpy arrays, made on access."""
        return _NumpyRows(self)


class _NumpyRows:
    def __init__(self, content: Content) -> None:
        self._content, self.shape = content, content.shape

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, rows: slice | Array) -> Array:
        return np.asarray(self._content[rows].cpu().numpy())


def content_by_modality(features: Mapping[str, Tensor], centers: Mapping[str, Tensor]) -> dict[str, Content]:
    """The content of each modality."""
    return {modality: Content(rows, centers[modality]) for modality, rows in features.items()}
