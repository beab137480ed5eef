"""Subspace iteration: it finds what a dense decomposition finds, repeats itself, starts warm, and resumes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.graph import SparseMatrix
from trainer.histories import Histories
from trainer.models import Work
from trainer.models.spectral import Iteration, leading_eigen, leading_singular, orthonormal, served_form

ITERATED = Iteration(direct_up_to=0, tolerance=1e-7, rounds=200, oversampling=4)


def low_rank(n_rows: int, n_columns: int, rank: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    left, right = torch.randn(n_rows, rank, generator=draw), torch.randn(rank, n_columns, generator=draw)
    return left * torch.logspace(0.5, -0.5, rank) @ right


def singular(matrix: torch.Tensor, d: int, how: Iteration):
    return leading_singular(lambda block: matrix @ block, lambda block: matrix.T @ block, tuple(matrix.shape), d, how)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.integers(1, 15), st.booleans())
def test_the_leading_triples_are_those_of_a_dense_decomposition(n_rows, n_columns, rank, d, direct):
    matrix = low_rank(n_rows, n_columns, rank)
    found = singular(matrix, d, Iteration() if direct else ITERATED)
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    d = min(d, n_rows, n_columns)
    torch.testing.assert_close(found.values.double(), values[:d], atol=1e-4 * float(values[0]), rtol=0)
    best = (left[:, :d] * values[:d]) @ right[:d]
    ours = (found.left * found.values) @ found.right.T
    torch.testing.assert_close(ours.double(), best, atol=2e-3 * float(values[0]), rtol=0)


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


def counted(matrix: torch.Tensor) -> tuple[list[int], object, object]:
    calls: list[int] = []

    def forward(block):
        calls.append(block.shape[1])
        return matrix @ block

    return calls, forward, lambda block: matrix.T @ block


def test_the_same_seed_gives_the_same_vectors():
    matrix, how = low_rank(40, 30, 20), Iteration(direct_up_to=0, seed=3)
    assert all(torch.equal(*pair) for pair in zip(singular(matrix, 3, how), singular(matrix, 3, how), strict=True))


def test_a_start_near_the_answer_saves_rounds():
    matrix = low_rank(60, 50, 40)
    right = singular(matrix, 4, Iteration()).right
    rounds = []
    for start in (None, right):
        calls, forward, backward = counted(matrix)
        leading_singular(
            forward, backward, (60, 50), 4, Iteration(direct_up_to=0, start=start, tolerance=1e-5, oversampling=2)
        )
        rounds.append(len(calls))
    assert rounds[1] < rounds[0]


def test_an_interrupted_iteration_goes_on_where_it_was_and_gives_the_same_numbers():
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
    calls, forward, backward = counted(matrix)
    again = leading_singular(
        forward, backward, (60, 50), 4, Iteration(**vars(how) | {"work": Work(load=lambda: saved[-1])})
    )
    assert len(calls) == 12 - 5
    assert all(torch.equal(*pair) for pair in zip(whole, again, strict=True))


def test_the_served_form_divides_a_linear_model_exactly_at_full_rank():
    offsets, items = np.array([0, 3, 5, 5, 6]), np.array([0, 1, 2, 1, 3, 4], np.int32)
    histories = Histories(offsets, items, np.zeros(6, np.int64), n_items=5)
    b = low_rank(5, 5, 5)
    scaled = SparseMatrix(histories.matrix(), torch.device("cpu"))
    form = served_form(scaled, lambda block: b @ block, lambda block: b.T @ block, 5, Iteration())
    users, items = scaled @ form.fold_in, b.T @ (scaled.T @ form.singular.left)
    torch.testing.assert_close(users @ items.T, scaled @ b, atol=1e-4, rtol=1e-4)
