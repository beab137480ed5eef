"""The filter of AnchorEASE: C = P (K + phi D) with P = (I + K)^-1 (docs/anchorease.md, step 3).

K has the similarities of items; D says how much more often an item is followed by another than the other way round.

Three forms of it, which only multiply blocks of columns: by an exact inverse; by leading eigenpairs, where no matrix
of all items with all items may exist; and C = Z^T Z where the penalty is infinite.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from trainer.graph import SparseMatrix
from trainer.models.content_rows import Content
from trainer.models.spectral import Iteration, leading_eigen
from trainer.models.user_rows import UserRows

_COLUMNS_AT_ONCE = 128


class Similarities:
    """K = (Z^T Z + sbar sum_m alpha_m F_m F_m^T) / (lambda sbar), with sbar the mean of the diagonal of Z^T Z.

    With an infinite lambda it is Z^T Z alone.
    """

    def __init__(
        self,
        rows: UserRows,
        squares: Tensor,
        features: Mapping[str, Content],
        alpha: Mapping[str, float],
        ridge: float,
    ) -> None:
        """`squares` (n_items,) is the diagonal of Z^T Z."""
        self.rows = rows
        self.scale = 1.0 if math.isinf(ridge) else 1 / max(ridge * float(squares.mean()), torch.finfo().tiny)
        weights = {m: 0.0 if math.isinf(ridge) else alpha[m] / ridge for m in features}
        self.weights = {m: weight for m, weight in weights.items() if weight}
        self.features = {m: features[m] for m in self.weights}
        of_features = (weight * self.features[m].known for m, weight in self.weights.items())
        self.diagonal = self.scale * squares + sum(of_features, torch.zeros_like(squares))

    @property
    def n(self) -> int:
        """Items."""
        return self.rows.shape[1]

    def __matmul__(self, block: Tensor) -> Tensor:
        product = self.rows.normal_times(block).mul_(self.scale)
        for modality in self.weights:
            product += self.of_features(modality, block)
        return product

    def of_features(self, modality: str, block: Tensor) -> Tensor:
        """alpha_m / lambda F_m F_m^T times a block."""
        features = self.features[modality]
        return self.weights[modality] * (features @ features.transposed_times(block))


class ItemFilter(ABC):
    """C and its parts by modality, without their diagonals, as products with blocks (n_items, b)."""

    def __init__(self, similarities: Similarities, direction: SparseMatrix | None = None) -> None:
        """`direction` is phi D in the scale of K, antisymmetric (n_items, n_items)."""
        self.similarities, self._direction = similarities, direction

    def towards(self, block: Tensor) -> Tensor:
        """C times a block: row i of C has what a past item i says of all others."""
        product = self.between(block)
        if self._direction is not None:
            product = product + self.kept(self._direction @ block) - self._directed_diagonal[:, None] * block
        return product

    def backwards(self, block: Tensor) -> Tensor:
        """C^T times a block."""
        product = self.between(block)
        if self._direction is not None:
            product = product - self._direction @ self.kept(block) - self._directed_diagonal[:, None] * block
        return product

    def kept(self, block: Tensor) -> Tensor:
        """P times a block."""
        return self.unexplained[:, None] * block - self.between(block)

    @cached_property
    def _directed_diagonal(self) -> Tensor:
        """(n_items,) the diagonal of P phi D."""
        assert self._direction is not None
        return self.diagonal_with(self._direction)

    @abstractmethod
    def diagonal_with(self, direction: SparseMatrix) -> Tensor:
        """(n_items,) the diagonal of P times an antisymmetric matrix."""

    @property
    @abstractmethod
    def unexplained(self) -> Tensor:
        """(n_items,) the diagonal of P = I - C."""

    @abstractmethod
    def between(self, block: Tensor) -> Tensor:
        """P K with a zero diagonal, which is symmetric, times a block."""

    def contents(self, block: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each modality's share in C, (P alpha_m F_m F_m^T / lambda)^T with a zero diagonal, times the block."""
        kept = self.kept(block)
        for modality in self.similarities.weights:
            product = self.similarities.of_features(modality, kept)
            yield modality, product - self.content_diagonal(modality)[:, None] * block

    def content_diagonal(self, modality: str) -> Tensor:
        """(n_items,) the diagonal of P alpha_m F_m F_m^T / lambda."""
        features = self.similarities.features[modality]
        total = torch.zeros_like(self.unexplained)
        for start in range(0, features.shape[1], _COLUMNS_AT_ONCE):
            columns = features.columns(slice(start, start + _COLUMNS_AT_ONCE))
            total += (self.kept(columns) * columns).sum(1)
        return self.similarities.weights[modality] * total


class CoOccurrences(ItemFilter):
    """C = Z^T Z: the limit of a penalty that grows to infinity, up to a factor."""

    @cached_property
    def unexplained(self) -> Tensor:
        """1 everywhere: nothing is subtracted."""
        return torch.ones_like(self.similarities.diagonal)

    def between(self, block: Tensor) -> Tensor:
        """Z^T Z without its diagonal."""
        return self.similarities @ block - self.similarities.diagonal[:, None] * block

    def kept(self, block: Tensor) -> Tensor:
        """P is I in the limit."""
        return block

    def diagonal_with(self, direction: SparseMatrix) -> Tensor:
        """That of the matrix: 0."""
        return torch.zeros_like(self.unexplained)


class ExactFilter(ItemFilter):
    """C = I - (I + K)^-1 as a matrix of all items with all items."""

    def __init__(
        self,
        similarities: Similarities,
        dense: Tensor,
        cosines: Mapping[str, Tensor],
        direction: SparseMatrix | None = None,
    ) -> None:
        """`dense` is K (n_items, n_items), which is overwritten; `cosines` F_m F_m^T of each modality in it."""
        super().__init__(similarities, direction)
        self._cosines = cosines
        dense.diagonal().add_(1)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(dense, out=dense), out=dense)
        self._unexplained = inverse.diagonal().clone()
        self._between = inverse.neg_()
        self._between.fill_diagonal_(0)

    @property
    def unexplained(self) -> Tensor:
        """The diagonal of the inverse."""
        return self._unexplained

    def between(self, block: Tensor) -> Tensor:
        """The inverse without its diagonal, negative."""
        return self._between @ block

    def content_diagonal(self, modality: str) -> Tensor:
        """From the matrices at hand."""
        cosines = self._cosines[modality]
        crossed = torch.einsum("ij,ij->i", self._between, cosines)
        return self.similarities.weights[modality] * (self._unexplained * cosines.diagonal() - crossed)

    def diagonal_with(self, direction: SparseMatrix) -> Tensor:
        """Entry by entry of the direction."""
        return direction.row_products(self._between)


class SpectralFilter(ItemFilter):
    """C by the r leading eigenpairs (w, Y) of K, and beyond them by a multiple of K.

    C is about Y diag(w / (1 + w) - t w) Y^T + t K with t = 1 / (1 + w_r): the secant of w / (1 + w) from 0 to w_r
    stands for it there, so the many small eigenvalues are not lost.
    """

    def __init__(
        self, similarities: Similarities, rank: int, how: Iteration, direction: SparseMatrix | None = None
    ) -> None:
        super().__init__(similarities, direction)
        values, self._vectors = leading_eigen(similarities.__matmul__, similarities.n, rank, how)
        self._rest = float(1 / (1 + values[-1])) if rank < similarities.n else 0.0
        self._filtered = values / (1 + values)
        self._values = self._filtered - self._rest * values
        explained = self._vectors.square() @ self._values + self._rest * similarities.diagonal
        self._unexplained = 1 - explained

    @property
    def unexplained(self) -> Tensor:
        """1 less the diagonal of C."""
        return self._unexplained

    def between(self, block: Tensor) -> Tensor:
        """The product of C, less its diagonal's."""
        product = self._vectors @ (self._values[:, None] * (self._vectors.T @ block))
        if self._rest:
            product += self._rest * (self.similarities @ block)
        return product - (1 - self._unexplained)[:, None] * block

    def kept(self, block: Tensor) -> Tensor:
        """P by the eigenpairs alone."""
        return block - self._vectors @ (self._filtered[:, None] * (self._vectors.T @ block))

    def diagonal_with(self, direction: SparseMatrix) -> Tensor:
        """By the eigenpairs."""
        return ((direction @ self._vectors) * self._vectors) @ self._filtered


def cosines_of(features: Content) -> Tensor:
    """F F^T (n_items, n_items) of unit rows."""
    whole = features[:]
    return whole @ whole.T
