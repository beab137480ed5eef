"""Leading singular vectors and eigenvectors of operators of which only products with blocks of columns are known.

Randomised block subspace iteration with oversampling (Halko, Martinsson and Tropp 2011): each round multiplies an
orthonormal basis by the operator, and the small problem inside the basis (Rayleigh-Ritz) gives the values. Products
are in the operator's precision; the small problems are in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from trainer.models.fitted import Work
from trainer.models.gram import gram
from trainer.models.user_rows import UserRows
from trainer.parallel import WHOLE, Share, from_first_rank
from trainer.progress import track

Product = Callable[[Tensor], Tensor]
"""Of a matrix with a block of columns: (n, b) -> (m, b)."""

_COLUMNS_AT_ONCE = 64
"""Of a block that a product is computed for: what it needs in between has so many."""
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
    share: Share = WHOLE
    """Of this process among the ranks that compute together; all of them take the first one's small decompositions."""


class Singular(NamedTuple):
    """Of H B the d largest singular values, descending, and their vectors; a right one's largest entry is positive."""

    values: Tensor  # (d,)
    right: Tensor  # (n_items, d)
    sums: Tensor  # (n_items, d): H^T times the left ones, which themselves are as many rows as there are users


class Eigen(NamedTuple):
    """The r largest eigenvalues, descending, and their vectors."""

    values: Tensor  # (r,)
    vectors: Tensor  # (n, r)


class ServedForm(NamedTuple):
    """A linear model x B at rank d, as a bundle serves it (docs/bundle.md): user . item is about (x / sqrt|x|) B."""

    values: Tensor
    """(d,) the singular values of H B, H = diag(d_u^-1/2) X."""
    fold_in: Tensor
    """(n_items, d)"""
    sums: Tensor
    """(n_items, d) H^T U, U the left singular vectors: an item's embedding is its row of B^T H^T U."""


class _Ritz(NamedTuple):
    """What one round finds inside the basis."""

    values: Tensor  # (b,) float64, descending
    vectors: Callable[[], Tensor]  # (n, b)
    image: Tensor  # (m, b): the operator times the vectors, each divided by its value; of a singular one, H^T that
    advance: Callable[[], Tensor]  # (n, b): columns nearer to the leading vectors


def served_form(histories: UserRows, times: Product, transposed_times: Product, d: int, how: Iteration) -> ServedForm:
    """Divide the model x B exactly among users and items, at rank d.

    Args:
        histories: diag(d_u^-1/2) X (n_users, n_items), as `Histories.matrix` gives it.
        times: V -> B V.
        transposed_times: V -> B^T V.
        d: the embedding size; users or items, where they are fewer.
        how: the start is of item embeddings.
    """
    found = leading_singular(histories, times, transposed_times, d, how)
    fold_in = in_columns(times, found.right).mul_(inverse(found.values))
    return ServedForm(found.values, fold_in, found.sums)


def leading_singular(
    histories: UserRows, times: Product, transposed_times: Product, d: int, how: Iteration
) -> Singular:
    """The d leading singular triples of H B; fewer where there are fewer users or items.

    Vectors of singular values that are zero to float precision are zero. Nothing has a row for every user but H.

    Args:
        histories: H (n_users, n_items).
        times: the product of B with (n_items, b).
        transposed_times: that of B^T.
        d: wanted triples.
        how: the start is of right singular vectors.
    """
    shape = histories.shape
    d = min(d, *shape)
    width = min(d + how.oversampling, *shape)

    def ritz(basis: Tensor) -> _Ritz:
        squares, sums = histories.gram_and_sums(in_columns(times, basis))
        squares, turn = _eigh(squares, how.share)
        values = _roots(squares)
        scale = inverse(values)
        sums = sums @ (turn * scale).to(sums)
        advance = partial(in_columns, transposed_times, sums)
        return _Ritz(values, lambda: basis @ turn.to(basis), sums, lambda: advance().mul_(scale.to(sums)))

    if prod(shape) > how.direct_up_to or min(shape) > 2 * how.rounds * width:
        return _signed(_leading(_iterate("singular vectors", ritz, shape[1], d, how), d))
    if shape[0] >= shape[1]:  # by the eigenvectors of the whole of (H B)^T H B
        found = _leading(ritz(torch.eye(shape[1], device=how.device)), d)
        return _signed(found._replace(right=found.right * (found.values > 0)))
    return _signed(_of_few_users(histories, transposed_times, d, how))


def _leading(found: _Ritz, d: int) -> Singular:
    image = found.image[:, :d]
    return Singular(found.values[:d].to(image), found.vectors()[:, :d], image)


def _of_few_users(histories: UserRows, transposed_times: Product, d: int, how: Iteration) -> Singular:
    """By the eigenvectors of the whole of H B (H B)^T."""
    transposed = histories.transposed()
    whole = transposed_times(transposed)  # (n_items, n_users)
    squares, left = _eigh(gram(whole, whole), how.share)
    values = _roots(squares)[:d]
    right = whole @ (left[:, :d] * inverse(values)).to(whole)
    return Singular(values.to(whole), right, transposed @ (left[:, :d] * (values > 0)).to(whole))


def in_columns(product: Product, block: Tensor) -> Tensor:
    """The product with a block (n, b), some columns at a time; the operator is square."""
    if block.shape[1] <= _COLUMNS_AT_ONCE:
        return product(block)
    result = torch.empty_like(block)
    for start in range(0, block.shape[1], _COLUMNS_AT_ONCE):
        some = slice(start, start + _COLUMNS_AT_ONCE)
        result[:, some] = product(block[:, some].contiguous())
    return result


def leading_eigen(apply: Product, n: int, r: int, how: Iteration) -> Eigen:
    """The r leading eigenpairs of a symmetric positive operator (n, n)."""
    r = min(r, n)

    def ritz(basis: Tensor) -> _Ritz:
        image = in_columns(apply, basis)
        small = gram(basis, image)
        values, turn = _eigh((small + small.T) / 2, how.share)
        image = image @ (turn * inverse(values)).to(image)
        return _Ritz(values, lambda: basis @ turn.to(basis), image, lambda: image)

    found = _iterate("eigenvectors", ritz, n, r, how)
    vectors = found.vectors()[:, :r]
    return Eigen(found.values[:r].clamp_min(0).to(vectors), vectors)


def _iterate(name: str, ritz: Callable[[Tensor], _Ritz], n: int, d: int, how: Iteration) -> _Ritz:
    """Multiply and orthonormalise until the d leading values no longer change."""
    done, basis, values = _begin(name, n, min(d + how.oversampling, n), how)
    console = None if how.share.is_first else Console(quiet=True)
    for number in track(range(done, how.rounds), name, total=how.rounds - done, console=console):
        found = ritz(basis)
        if number == how.rounds - 1 or _settled(found.values[:d], values[:d], how.tolerance):
            break
        basis, values = orthonormal(found.advance(), how.share), found.values
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
    return 0, orthonormal(columns.to(how.device), how.share), none


def _settled(values: Tensor, before: Tensor, tolerance: float) -> bool:
    return bool(((values - before).abs() <= tolerance * values.abs()).all())


def orthonormal(columns: Tensor, share: Share = WHOLE) -> Tensor:
    """An orthonormal basis of the columns (n, b), as many; zero columns where they are dependent."""
    lengths = torch.linalg.vector_norm(columns, dim=0, dtype=torch.float64)
    scale = inverse(lengths)
    squares, turn = _eigh(gram(columns, columns) * scale * scale[:, None], share)
    return columns @ (scale[:, None] * turn * inverse(_roots(squares))).to(columns)


def _eigh(matrix: Tensor, share: Share) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, and eigenvectors; those of the first rank, as others may find other signs."""
    values, vectors = (from_first_rank(share, found) for found in torch.linalg.eigh(matrix))
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
    return Singular(found.values, found.right * sign, found.sums * sign)
