"""Subspace iteration: it finds what a dense decomposition finds, repeats itself, starts warm, and resumes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from trainer.histories import Histories
from trainer.models import Work, spectral, user_rows
from trainer.models.spectral import Iteration, leading_eigen, leading_singular, orthonormal, served_form
from trainer.models.user_rows import UserRows, column_squares

ITERATED = Iteration(direct_up_to=0, tolerance=1e-7, rounds=200, oversampling=4)


def low_rank(n_rows: int, n_columns: int, rank: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    left, right = torch.randn(n_rows, rank, generator=draw), torch.randn(rank, n_columns, generator=draw)
    return left * torch.logspace(0.5, -0.5, rank) @ right


IDENTITY = (torch.clone, torch.clone)
"""B and B^T where the operator is the users' rows alone."""


def rows_of(matrix: torch.Tensor) -> UserRows:
    return UserRows(csr_matrix(matrix.numpy()), torch.device("cpu"))


def singular(matrix: torch.Tensor, d: int, how: Iteration):
    return leading_singular(rows_of(matrix), *IDENTITY, d, how)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.integers(1, 15), st.booleans())
def test_the_leading_triples_are_those_of_a_dense_decomposition(n_rows, n_columns, rank, d, direct):
    matrix = low_rank(n_rows, n_columns, rank)
    found = singular(matrix, d, Iteration() if direct else ITERATED)
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    d = min(d, n_rows, n_columns)
    torch.testing.assert_close(found.values.double(), values[:d], atol=1e-4 * float(values[0]), rtol=0)
    best = (left[:, :d] * values[:d]) @ right[:d]
    ours = matrix @ found.right @ found.right.T
    torch.testing.assert_close(ours.double(), best, atol=2e-3 * float(values[0]), rtol=0)
    torch.testing.assert_close(found.sums, found.right * found.values, atol=2e-3 * float(values[0]), rtol=0)


def test_the_largest_entry_of_a_right_vector_is_positive():
    right = singular(low_rank(9, 7, 5), 4, Iteration()).right
    assert (right.gather(0, right.abs().argmax(dim=0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("r", [5, 30])
def test_eigenpairs_are_those_of_a_dense_decomposition(r):
    root = low_rank(30, 30, 30)
    matrix = root @ root.T
    found = leading_eigen(lambda block: matrix @ block, 30, r, ITERATED)
    expected = torch.linalg.eigvalsh(matrix.double()).flip(0)[:r]
    torch.testing.assert_close(found.values.double(), expected, rtol=1e-3, atol=1e-4 * float(expected[0]))
    torch.testing.assert_close(found.vectors.T @ found.vectors, torch.eye(r), atol=1e-5, rtol=0)


def test_dependent_columns_leave_zero_columns_beside_an_orthonormal_basis():
    basis = orthonormal(low_rank(20, 6, 3))
    torch.testing.assert_close(basis.T @ basis, torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0])), atol=1e-4, rtol=0)


def counted(monkeypatch) -> list[int]:
    """The rounds that follow, one entry each."""
    calls: list[int] = []
    once = UserRows.gram_and_sums

    def counting(rows, block):
        calls.append(block.shape[1])
        return once(rows, block)

    monkeypatch.setattr(UserRows, "gram_and_sums", counting)
    return calls


def test_the_same_seed_gives_the_same_vectors():
    matrix, how = low_rank(40, 30, 20), Iteration(direct_up_to=0, seed=3)
    assert all(torch.equal(*pair) for pair in zip(singular(matrix, 3, how), singular(matrix, 3, how), strict=True))


def test_a_start_near_the_answer_saves_rounds(monkeypatch):
    matrix = low_rank(60, 50, 40)
    right = singular(matrix, 4, Iteration()).right
    rounds = []
    for start in (None, right):
        calls = counted(monkeypatch)
        singular(matrix, 4, Iteration(direct_up_to=0, start=start, tolerance=1e-5, oversampling=2))
        rounds.append(len(calls))
    assert rounds[1] < rounds[0]


def test_an_interrupted_iteration_goes_on_where_it_was_and_gives_the_same_numbers(monkeypatch):
    matrix = low_rank(60, 50, 40)
    how = Iteration(direct_up_to=0, tolerance=1e-9, rounds=12, saved_from=0, oversampling=2)
    whole = singular(matrix, 4, how)
    saved: list[dict] = []

    def save(steps):
        saved.append(steps)
        if len(saved) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        singular(matrix, 4, Iteration(**vars(how) | {"work": Work(save=save)}))
    calls = counted(monkeypatch)
    again = singular(matrix, 4, Iteration(**vars(how) | {"work": Work(load=lambda: saved[-1])}))
    assert len(calls) == 12 - 5
    assert all(torch.equal(*pair) for pair in zip(whole, again, strict=True))


def test_the_served_form_divides_a_linear_model_exactly_at_full_rank():
    offsets, items = np.array([0, 3, 5, 5, 6]), np.array([0, 1, 2, 1, 3, 4], np.int32)
    histories = Histories(offsets, items, np.zeros(6, np.int64), n_items=5)
    b = low_rank(5, 5, 5)
    scaled = UserRows(histories.matrix(), torch.device("cpu"))
    form = served_form(scaled, lambda block: b @ block, lambda block: b.T @ block, 5, Iteration())
    users, items = scaled @ form.fold_in, b.T @ form.sums
    torch.testing.assert_close(users @ items.T, scaled @ b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(60, 50), (40, 50)], ids=str)
@pytest.mark.parametrize("how", [Iteration(), ITERATED], ids=["direct", "iterated"])
def test_some_users_and_some_columns_at_a_time_give_what_all_at_once_give(monkeypatch, shape, how):
    matrix = low_rank(*shape, 40)
    whole = singular(matrix, 6, how)
    monkeypatch.setattr(user_rows, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(spectral, "_COLUMNS_AT_ONCE", 3)
    for one, other in zip(whole, singular(matrix, 6, how), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_sums_over_users_in_chunks_are_those_of_the_whole_matrix(monkeypatch):
    matrix, block = low_rank(23, 9, 9), torch.randn(9, 4)
    monkeypatch.setattr(user_rows, "_ROWS_AT_ONCE", 5)
    rows = rows_of(matrix)
    squares, sums = rows.gram_and_sums(block)
    expected = matrix.T @ (matrix @ block)
    torch.testing.assert_close(rows.normal_times(block), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sums, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(squares.float(), block.T @ expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rows @ block, matrix @ block)
    torch.testing.assert_close(rows.transposed(), matrix.T)
    torch.testing.assert_close(column_squares(csr_matrix(matrix.numpy())), matrix.square().sum(dim=0))
