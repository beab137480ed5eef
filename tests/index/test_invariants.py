from itertools import chain

import numpy as np
import pytest
from bundles import make_content
from hypothesis import given, settings
from hypothesis import strategies as st

from index.content import BundleContent
from index.gate_report import TOLERANCE
from index.invariants import fold_in_error, fold_in_sums, part_sum_error
from index.recency import Recency

recencies = st.builds(Recency, tau=st.floats(0.5, 20), floor=st.floats(0, 0.5))


def test_fold_in_worked_out_by_hand():
    fold_in = np.array([[1, 0], [0, 1], [2, 2]], np.float32)
    offsets, seen = np.array([0, 2, 2, 3]), np.array([0, 1, 2])
    expected = [[1 / np.sqrt(2), 1 / np.sqrt(2)], [0, 0], [2, 2]]  # two items, none, one
    np.testing.assert_allclose(fold_in_sums(fold_in, offsets, seen), expected)


def test_fold_in_by_recency_worked_out_by_hand():
    fold_in = np.array([[1, 0], [0, 1], [2, 2]], np.float32)
    halving = Recency(tau=1 / np.log(2))
    found = fold_in_sums(fold_in, np.array([0, 2, 2, 3]), np.array([0, 1, 2]), halving)
    expected = [[0.5 / np.sqrt(1.5), 1 / np.sqrt(1.5)], [0, 0], [2, 2]]  # an older item counts half
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_only_users_without_items_fold_to_zero():
    assert (
        fold_in_sums(np.ones((3, 2), np.float32), np.zeros(5, np.int64), np.zeros(0, np.int32)).tolist() == [[0, 0]] * 4
    )


def law_2_error(content: BundleContent, recency: Recency | None) -> float:
    arrays = (content.user_embeddings, content.user_own, content.fold_in, content.seen_offsets, content.seen_items)
    return fold_in_error(*arrays, recency=recency)


@given(st.integers(0, 1_000), st.none() | recencies, st.booleans())
@settings(max_examples=20, deadline=None)
def test_content_made_by_the_laws_keeps_them(seed, recency, has_own):
    content = make_content(seed=seed, recency=recency, has_own=has_own)
    assert law_2_error(content, recency) < TOLERANCE / 10
    assert part_sum_error(content.item_embeddings, content.item_parts) < TOLERANCE / 10


@given(recencies)
@settings(max_examples=20, deadline=None)
def test_users_folded_in_by_another_recency_are_seen(recency):
    content = make_content(recency=recency, has_own=False)
    assert law_2_error(content, None) > TOLERANCE
    assert law_2_error(content, Recency(tau=recency.tau * 1.1, floor=recency.floor)) > TOLERANCE


@given(
    st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=5),
    st.none() | recencies,
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_many_users_fold_in_as_each_does_alone_by_the_formula(histories, recency, seed):
    fold_in = np.random.default_rng(seed).standard_normal((6, 3)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    found = fold_in_sums(fold_in, offsets, np.array(list(chain(*histories)), np.int32), recency)
    for history, vector in zip(histories, found, strict=True):
        ranks = np.arange(len(history))[::-1]
        weights = (
            np.ones(len(history))
            if recency is None
            else recency.floor + (1 - recency.floor) * np.exp(-ranks / recency.tau)
        )
        expected = weights @ fold_in[history].astype(float) / np.sqrt(max(weights.sum(), 1))
        np.testing.assert_allclose(vector, expected, atol=1e-6)


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
