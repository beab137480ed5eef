"""The graphs, against dense arithmetic and under ties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainer.graph import (
    SparseMatrix,
    interaction_matrix,
    item_graph,
    normalise_interactions,
)
from trainer.nearest import nearest_items, unit_rows

CPU = torch.device("cpu")


def test_an_interaction_is_divided_by_the_root_of_both_degrees():
    # user 0 has items 0, 1, 2; user 1 has item 0: d = (3, 1) and (2, 1, 1)
    matrix = interaction_matrix(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]), 2, 3)
    expected = [[1 / np.sqrt(6), 1 / np.sqrt(3), 1 / np.sqrt(3)], [1 / np.sqrt(2), 0, 0]]
    np.testing.assert_allclose(normalise_interactions(matrix).toarray(), expected, rtol=1e-6)


def test_a_repeated_pair_counts_once_and_an_item_without_users_stays_zero():
    matrix = interaction_matrix(np.array([0, 0]), np.array([1, 1]), 1, 3)
    np.testing.assert_array_equal(normalise_interactions(matrix).toarray(), [[0, 1, 0]])


def test_the_sparse_product_and_its_gradient_equal_the_dense_ones():
    rng = np.random.default_rng(0)
    matrix = interaction_matrix(rng.integers(0, 7, 20), rng.integers(0, 5, 20), 7, 5).astype(np.float32)
    dense = torch.from_numpy(matrix.toarray())
    ours = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    weights = torch.randn(7, 3)
    (weights * (SparseMatrix(matrix, CPU) @ ours)).sum().backward()
    (weights * (dense @ theirs)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(SparseMatrix(matrix, CPU).T @ weights, dense.T @ weights)


def test_the_nearest_item_of_an_item_is_itself_and_the_rest_come_by_cosine():
    features = np.array([[1, 0], [0.9, 0.1], [0, 1], [5, 0.1]])
    rows, cosines, _ = nearest_items(features, 3)
    np.testing.assert_array_equal(rows[0], [0, 3, 1])
    assert cosines[0, 0] == 1.0
    np.testing.assert_allclose(cosines[0, 2], 0.9 / np.hypot(0.9, 0.1), rtol=1e-6)


def test_among_equal_features_the_item_itself_comes_first_and_then_the_lower_rows():
    features = np.array([[1, 0], [0, 1], [0, 2], [0, 3], [0, 4], [1, 1]])
    rows = nearest_items(features, 3).rows
    np.testing.assert_array_equal(rows[4], [4, 1, 2])
    np.testing.assert_array_equal(rows[1], [1, 2, 3])


def test_many_items_that_share_the_mean_vector_keep_themselves_as_neighbours():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8))
    features[50:250] = features.mean(axis=0)
    rows = nearest_items(features, 10).rows
    np.testing.assert_array_equal(rows[:, 0], np.arange(300))
    np.testing.assert_array_equal(rows[60, 1:], np.arange(50, 59))


def test_k_beyond_the_catalogue_gives_every_item_once():
    rows = nearest_items(np.eye(3), 10).rows
    assert rows.shape == (3, 3)
    np.testing.assert_array_equal(np.sort(rows, axis=1), [[0, 1, 2]] * 3)


@given(
    features=hnp.arrays(np.int64, st.tuples(st.integers(2, 30), st.just(3)), elements=st.integers(1, 3)),
    k=st.integers(1, 8),
)
def test_with_any_number_of_duplicates_neighbours_are_the_best_by_cosine_then_row(features, k):
    rows = nearest_items(features, k).rows
    unit = unit_rows(features.astype(np.float32)).astype(np.float64)
    cosines = np.round(unit @ unit.T, 5)
    for item, found in enumerate(rows):
        assert found[0] == item
        assert len(set(found)) == len(found)
        others = np.delete(np.arange(len(unit)), item)
        best = np.sort(cosines[item][others])[::-1][: len(found) - 1]
        np.testing.assert_allclose(cosines[item][found[1:]], best, atol=2e-5)


def test_the_item_graph_is_the_weighted_knn_graph_scaled_by_row_sums():
    rng = np.random.default_rng(3)
    features = rng.random((12, 5)).astype(np.float32)
    graph = item_graph(nearest_items(features, 4)).toarray()
    unit = unit_rows(features)
    cosines = unit @ unit.T
    kept = np.where(cosines >= np.sort(cosines, axis=1)[:, [-4]], cosines, 0)
    scale = kept.sum(axis=1) ** -0.5
    np.testing.assert_allclose(graph, scale[:, None] * kept * scale[None, :], rtol=1e-5)


def test_a_negative_cosine_among_the_nearest_keeps_its_sign():
    graph = item_graph(nearest_items(np.array([[1.0, 0.0], [-0.6, 0.8]]), 2)).toarray()
    np.testing.assert_allclose(graph, [[2.5, -1.5], [-1.5, 2.5]], rtol=1e-6)  # row sums 1 - 0.6 = 0.4


def test_a_row_that_sums_to_nothing_is_zero_and_no_nan():
    graph = item_graph(nearest_items(np.array([[1.0, 0.0], [-1.0, 0.0]]), 2)).toarray()
    np.testing.assert_array_equal(graph, np.zeros((2, 2)))


def test_two_builds_of_one_graph_agree_to_the_bit():
    features = np.random.default_rng(5).normal(size=(500, 32))
    one, two = item_graph(nearest_items(features, 10)), item_graph(nearest_items(features, 10))
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.data, two.data)


@pytest.mark.parametrize("n_items", [4095, 4096, 4097])
def test_blocks_of_items_do_not_change_the_answer(n_items):
    features = np.random.default_rng(0).normal(size=(n_items, 4))
    rows = nearest_items(features, 3).rows
    np.testing.assert_array_equal(rows[:, 0], np.arange(n_items))
    unit = unit_rows(features)
    last = np.argsort(-(unit[-1] @ unit.T), kind="stable")[:3]
    np.testing.assert_array_equal(rows[-1], last)
