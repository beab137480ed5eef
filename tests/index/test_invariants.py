import numpy as np
import pytest
from bundles import make_content
from hypothesis import given, settings
from hypothesis import strategies as st

from index.gate_report import TOLERANCE
from index.invariants import fold_in_error, fold_in_sums, part_sum_error


def test_fold_in_worked_out_by_hand():
    fold_in = np.array([[1, 0], [0, 1], [2, 2]], np.float32)
    offsets, seen = np.array([0, 2, 2, 3]), np.array([0, 1, 2])
    expected = [[1 / np.sqrt(2), 1 / np.sqrt(2)], [0, 0], [2, 2]]  # two items, none, one
    np.testing.assert_allclose(fold_in_sums(fold_in, offsets, seen), expected)


def test_only_users_without_items_fold_to_zero():
    assert (
        fold_in_sums(np.ones((3, 2), np.float32), np.zeros(5, np.int64), np.zeros(0, np.int32)).tolist() == [[0, 0]] * 4
    )


@given(st.integers(0, 1_000))
@settings(max_examples=20, deadline=None)
def test_content_made_by_the_laws_keeps_them(seed):
    content = make_content(seed=seed)
    error = fold_in_error(
        content.user_embeddings, content.user_own, content.fold_in, content.seen_offsets, content.seen_items
    )
    assert error < TOLERANCE / 10
    assert part_sum_error(content.item_embeddings, content.item_parts) < TOLERANCE / 10


@pytest.mark.parametrize("row", [0, 39])
def test_one_part_that_is_off_in_one_row_is_seen(row):
    content = make_content()
    parts = {name: part.copy() for name, part in content.item_parts.items()}
    parts["text"][row, 3] += 1e-3
    assert part_sum_error(content.item_embeddings, parts) > TOLERANCE


def test_the_error_is_relative_to_the_size_of_the_vectors():
    whole = np.full((4, 2), 1e6, np.float32)
    assert part_sum_error(whole, {"id": whole + 1}) == pytest.approx(1e-6, rel=1e-3)
    assert part_sum_error(np.zeros((4, 2), np.float32), {"id": np.zeros((4, 2), np.float32)}) == 0
