"""Leading singular vectors and eigenvectors of operators of which only products with blocks of columns are known.

Randomised block subspace iteration with oversampling (Halko, Martinsson and Tropp 2011): each round multiplies an
orthonormal basis by the operator, and the small problem inside the basis (Rayleigh-Ritz) gives the values. Products
are in the operator's precision; the small problems are in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.graph import SparseMatrix
from trainer.models.fitted import Work
from trainer.progress import track

Product = Callable[[Tensor], Tensor]
"""Of a matrix with a block of columns: (n, b) -> (m, b)."""

_ROWS_AT_ONCE = 65_536
"""Rows of a block that are in float64 at the same time."""
_ZERO = 1e-6
"""Share of the largest value below which another one is rounding error."""
_SAVED_FROM = 20_000_000
"""Entries of a block from which each round is saved; smaller ones are quicker computed again than read."""


@dataclass(frozen=True)
class Iteration:
    """What the subspace iteration begins with, and when it ends."""

    seed: int = 0
    start: Tensor | None = None
    """(n, any) columns near the wanted ones, as of an earlier training; random columns fill up."""
    tolerance: float = 1e-2
    """It ends when no wanted value changes by more than this share of itself in a round."""
    rounds: int = 30
    oversampling: int = 16
    direct_up_to: int = 50_000_000
    """Entries of an operator that is made whole and decomposed at once, where that is also less work."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    work: Work = field(default_factory=Work)
    """Keeps the rounds that are done; a resumed iteration gives the same numbers."""
    saved_from: int = _SAVED_FROM


class Singular(NamedTuple):
    """The d largest singular values, descending, and their vectors; the largest entry of a right one is positive."""

    left: Tensor  # (n_rows, d)
    values: Tensor  # (d,)
    right: Tensor  # (n_columns, d)


class Eigen(NamedTuple):
    """The r largest eigenvalues, descending, and their vectors."""

    values: Tensor  # (r,)
    vectors: Tensor  # (n, r)


class ServedForm(NamedTuple):
    """A linear model x B at rank d, as a bundle serves it (docs/bundle.md): user . item is about (x / sqrt|x|) B."""

    singular: Singular
    """Of diag(d_u^-1/2) X B."""
    fold_in: Tensor
    """(n_items, d)"""


class _Ritz(NamedTuple):
    """What one round finds inside the basis."""

    values: Tensor  # (b,) float64, descending
    vectors: Tensor  # (n, b)
    image: Tensor  # (m, b): the operator times the vectors, each divided by its value
    advance: Callable[[], Tensor]  # (n, b): columns nearer to the leading vectors


def served_form(
    histories: SparseMatrix, times: Product, transposed_times: Product, d: int, how: Iteration
) -> ServedForm:
    """Divide the model x B exactly among users and items, at rank d.

    Args:
        histories: diag(d_u^-1/2) X (n_users, n_items), as `Histories.matrix` gives it.
        times: V -> B V.
        transposed_times: V -> B^T V.
        d: the embedding size; users or items, where they are fewer.
        how: the start is of item embeddings.
    """
    found = leading_singular(
        lambda block: histories @ times(block),
        lambda block: transposed_times(histories.T @ block),
        histories.shape,
        d,
        how,
    )
    return ServedForm(found, times(found.right) * inverse(found.values))


def leading_singular(forward: Product, backward: Product, shape: tuple[int, int], d: int, how: Iteration) -> Singular:
    """The d leading singular triples of the operator (n_rows, n_columns); fewer where it has fewer rows or columns.

    Vectors of singular values that are zero to float precision are zero.

    Args:
        forward: its product with (n_columns, b).
        backward: its transpose's with (n_rows, b).
        shape: (n_rows, n_columns).
        d: wanted triples.
        how: the start is of right singular vectors.
    """
    d = min(d, *shape)
    width = min(d + how.oversampling, *shape)
    if prod(shape) <= how.direct_up_to and min(shape) <= 2 * how.rounds * width:
        return _signed(_decompose(forward, backward, shape, d, how))

    def ritz(basis: Tensor) -> _Ritz:
        image = forward(basis)
        squares, turn = _eigh(gram(image, image))
        values = _roots(squares)
        scale = inverse(values)
        left = image @ (turn * scale).to(image)
        return _Ritz(values, basis @ turn.to(basis), left, lambda: backward(left) * scale.to(left))

    found = _iterate("singular vectors", ritz, shape[1], d, how)
    return _signed(Singular(found.image[:, :d], found.values[:d].to(found.image), found.vectors[:, :d]))


def leading_eigen(apply: Product, n: int, r: int, how: Iteration) -> Eigen:
    """The r leading eigenpairs of a symmetric positive operator (n, n)."""
    r = min(r, n)

    def ritz(basis: Tensor) -> _Ritz:
        image = apply(basis)
        small = gram(basis, image)
        values, turn = _eigh((small + small.T) / 2)
        image = image @ (turn * inverse(values)).to(image)
        return _Ritz(values, basis @ turn.to(basis), image, lambda: image)

    found = _iterate("eigenvectors", ritz, n, r, how)
    return Eigen(found.values[:r].clamp_min(0).to(found.vectors), found.vectors[:, :r])


def _iterate(name: str, ritz: Callable[[Tensor], _Ritz], n: int, d: int, how: Iteration) -> _Ritz:
    """Multiply and orthonormalise until the d leading values no longer change."""
    done, basis, values = _begin(name, n, min(d + how.oversampling, n), how)
    for number in track(range(done, how.rounds), name, total=how.rounds - done):
        found = ritz(basis)
        if number == how.rounds - 1 or _settled(found.values[:d], values[:d], how.tolerance):
            break
        basis, values = orthonormal(found.advance()), found.values
        if basis.numel() >= how.saved_from:
            how.work.save_step(name, {"basis": basis, "values": values, "done": torch.tensor(number + 1)})
    return found


def _begin(name: str, n: int, width: int, how: Iteration) -> tuple[int, Tensor, Tensor]:
    """Rounds done, the basis (n, width) and the values that the last round found."""
    saved = how.work.saved_step(name)
    if saved and saved["basis"].shape == (n, width):
        return int(saved["done"]), saved["basis"].to(how.device), saved["values"].to(how.device)
    columns = torch.randn(n, width, generator=torch.Generator().manual_seed(how.seed))
    if how.start is not None:
        given = how.start[:, :width].to(columns)
        scale = given.norm() / (max(given.shape[1], 1) * n) ** 0.5
        columns[:, : given.shape[1]] = given + 1e-3 * scale * columns[:, : given.shape[1]]  # new items take part
    none = torch.zeros(width, dtype=torch.float64, device=how.device)
    return 0, orthonormal(columns.to(how.device)), none


def _settled(values: Tensor, before: Tensor, tolerance: float) -> bool:
    return bool(((values - before).abs() <= tolerance * values.abs()).all())


def _decompose(forward: Product, backward: Product, shape: tuple[int, int], d: int, how: Iteration) -> Singular:
    """By the eigenvectors of the product of the whole operator with its transpose, on its shorter side."""
    wide = shape[0] < shape[1]
    identity = torch.eye(min(shape), device=how.device)
    whole = backward(identity) if wide else forward(identity)  # (long, short)
    squares, short = _eigh(gram(whole, whole))
    values = _roots(squares)[:d]
    long = whole @ (short[:, :d] * inverse(values)).to(whole)
    short = (short[:, :d] * (values > 0)).to(whole)
    return Singular(short if wide else long, values.to(whole), long if wide else short)


def orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of the columns (n, b), as many; zero columns where they are dependent."""
    lengths = torch.linalg.vector_norm(columns, dim=0, dtype=torch.float64)
    scale = inverse(lengths)
    squares, turn = _eigh(gram(columns, columns) * scale * scale[:, None])
    return columns @ (scale[:, None] * turn * inverse(_roots(squares))).to(columns)


def gram(one: Tensor, other: Tensor, weights: Tensor | None = None) -> Tensor:
    """one^T other (b, c) in float64, a slice of rows at a time; rows count by their weights (n,)."""
    total = torch.zeros(one.shape[1], other.shape[1], dtype=torch.float64, device=one.device)
    for start in range(0, len(one), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        weighted = other[rows].double() if weights is None else weights[rows, None].double() * other[rows]
        total += one[rows].double().T @ weighted
    return total


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(0), vectors.flip(1)


def _roots(squares: Tensor) -> Tensor:
    """Square roots; 0 where they are zero beside the largest, to the precision of float32 products."""
    roots = squares.clamp_min(0).sqrt()
    return torch.where(roots > _ZERO * roots.max(), roots, 0)


def inverse(values: Tensor) -> Tensor:
    """1 / x, and 0 where x is 0."""
    return torch.where(values > 0, 1 / values.clamp_min(torch.finfo(values.dtype).tiny), 0)


def _signed(found: Singular) -> Singular:
    largest = found.right.abs().argmax(dim=0, keepdim=True)
    sign = torch.where(found.right.gather(0, largest) < 0, -1.0, 1.0).to(found.right)
    return Singular(found.left * sign, found.values, found.right * sign)
