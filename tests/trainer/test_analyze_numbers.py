"""What the figures measure, against answers worked out by hand."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.analyze.numbers import (
    overlap,
    pair_proximity,
    random_others,
    tsne,
    two_hop_counts,
    users_in_common,
)
from trainer.expressiveness import nearest_others

# Users' items: 0 has A B, 1 has B C, 2 has D alone, nobody has E.
INTERACTIONS = sp.csr_matrix(np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]], dtype=np.float64))


def vectors(n, width, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_a_space_overlaps_itself_fully_whatever_the_length_of_its_rows():
    items = vectors(60, 5)
    near = nearest_others(items, 20)[0]
    assert overlap(near, near) == 1
    assert overlap(near, nearest_others(items * np.arange(1, 61, dtype=np.float32)[:, None], 20)[0]) == 1


def test_two_spaces_overlap_by_their_common_neighbours():
    assert overlap(np.array([[1, 2], [0, 2]]), np.array([[2, 3], [2, 0]])) == pytest.approx((1 / 2 + 2 / 2) / 2)


def test_independent_spaces_overlap_by_chance():
    n, k = 800, 20
    found = overlap(nearest_others(vectors(n, 16, 1), k)[0], nearest_others(vectors(n, 16, 2), k)[0])
    assert found == pytest.approx(k / (n - 1), rel=0.25)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 30), st.integers(1, 8), st.integers(0, 1000))
def test_overlap_is_a_share_and_the_same_from_both_sides(n, k, seed):
    one, other = (nearest_others(vectors(n, 4, seed + i), k)[0] for i in range(2))
    assert overlap(one, other) == overlap(other, one)
    assert 0 <= overlap(one, other) <= 1


def test_the_two_hop_count_is_the_other_items_of_the_users_of_an_item():
    # A: {B}; B: {A, C}; C: {B}; D: its user has nothing else; E: nobody has it.
    assert two_hop_counts(INTERACTIONS).tolist() == [1, 2, 1, 0, 0]


def test_the_two_hop_count_does_not_depend_on_how_it_is_cut_into_blocks(monkeypatch):
    interactions = sp.random(30, 40, 0.1, format="csr", random_state=0, data_rvs=np.ones)
    whole = two_hop_counts(interactions)
    monkeypatch.setattr("trainer.analyze.numbers._ENTRIES_AT_ONCE", 120)
    np.testing.assert_array_equal(two_hop_counts(interactions), whole)
    shared = (interactions.T @ interactions).toarray() > 0
    np.testing.assert_array_equal(whole, (shared & ~np.eye(40, dtype=bool)).sum(axis=1))


def test_pair_proximity_is_the_cosine_of_two_columns_of_the_interactions():
    others = np.array([[1, 3], [0, 2], [1, 0], [0, 4], [0, 1]])
    shared = users_in_common(INTERACTIONS, others)
    assert shared.tolist() == [[1, 0], [1, 1], [1, 0], [0, 0], [0, 0]]
    n_users_of = np.array([1, 2, 1, 1, 0])
    expected = np.array([[2**-0.5, 0], [2**-0.5, 2**-0.5], [2**-0.5, 0], [0, 0], [0, 0]])
    np.testing.assert_allclose(pair_proximity(shared, n_users_of, others), expected)


def test_items_with_the_same_users_are_in_full_proximity():
    interactions = sp.csr_matrix(np.ones((3, 2)))
    others = np.array([[1], [0]])
    shared = users_in_common(interactions, others)
    np.testing.assert_allclose(pair_proximity(shared, np.array([3, 3]), others), 1)


def test_random_others_are_never_the_item_itself():
    drawn = random_others(5, 200, np.random.default_rng(0))
    assert all(set(row) == set(range(5)) - {item} for item, row in enumerate(drawn.tolist()))


def test_the_map_of_two_spaces_keeps_their_rows_apart_and_is_repeatable():
    spaces = [vectors(12, 6, 1), vectors(12, 6, 1) + 50]
    one, other = tsne(spaces, 42)
    assert one.shape == other.shape == (12, 2)
    again = tsne(spaces, 42)
    np.testing.assert_array_equal(one, again[0])
    gap = np.linalg.norm(one.mean(axis=0) - other.mean(axis=0))
    assert gap > np.linalg.norm(one - one.mean(axis=0), axis=1).mean()


def test_a_map_of_one_item_is_one_point():
    assert [places.tolist() for places in tsne([np.ones((1, 3), np.float32)], 0)] == [[[0.0, 0.0]]]
