"""The graphs, against dense arithmetic and under ties."""

import numpy as np
import torch

from index.ranking import unit_rows
from trainer.graph import (
    SparseMatrix,
    interaction_matrix,
    item_graph,
    normalise_interactions,
)
from trainer.nearest import nearest_items

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
