"""The graphs, against dense arithmetic and under ties."""

from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from index.ranking import unit_rows
from trainer import graph as graph_module
from trainer.graph import (
    SparseMatrix,
    agreement_graphs,
    binary_graph,
    by_row_counts,
    companion_graph,
    interaction_matrix,
    item_graph,
    normalise_interactions,
    union_graph,
)
from trainer.inputs import make_inputs
from trainer.model_settings import BPRSettings
from trainer.models.propagation import sums_over_items, sums_over_users
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


# The graphs of the other models, against naive dense arithmetic


@st.composite
def tables(draw, n_tables=1):
    """Features of a few items, without ties and with positive row sums."""
    n_items, rng = draw(st.integers(2, 25)), np.random.default_rng(draw(st.integers(0, 10**6)))
    return [rng.random((n_items, draw(st.integers(2, 6)))).astype(np.float32) for _ in range(n_tables)]


def cosines_of(features):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit @ unit.T


@given(tables(), st.integers(1, 30))
def test_the_binary_graph_has_each_item_s_k_nearest_with_one_kth(found, k):
    (features,) = found
    graph = binary_graph(nearest_items(features, k)).toarray()
    kept = min(k, len(features))
    cosines = cosines_of(features)
    for row, values in enumerate(graph):
        assert (values > 0).sum() == kept
        np.testing.assert_allclose(values[values > 0], 1 / kept, rtol=1e-6)
        assert cosines[row][values > 0].min() >= np.sort(cosines[row])[-kept] - 1e-6


@given(st.integers(1, 12), st.integers(0, 10**6))
def test_the_union_graph_has_the_larger_value_of_both_and_a_single_one_as_it_is(n, seed):
    rng = np.random.default_rng(seed)
    one, other = (rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.4) for _ in range(2))
    expected = np.where((one != 0) & (other != 0), np.maximum(one, other), one + other)
    found = union_graph(sp.csr_matrix(one), sp.csr_matrix(other)).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(st.integers(1, 12), st.integers(0, 10**6))
def test_edges_by_row_counts_are_divided_by_the_root_of_both_counts(n, seed):
    edges = np.random.default_rng(seed).random((n, n)) < 0.4
    counts = edges.sum(axis=1)
    with np.errstate(divide="ignore"):
        scale = np.where(counts > 0, counts**-0.5, 0)
    found = by_row_counts(sp.csr_matrix(edges.astype(float))).toarray()
    np.testing.assert_allclose(found, scale[:, None] * edges * scale, rtol=1e-6)


@given(st.integers(1, 15), st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_companions_share_the_most_users_and_at_least_so_many(n_users, n_items, n_companions, min_shared, seed):
    rng = np.random.default_rng(seed)
    matrix = (rng.random((n_users, n_items)) < 0.4).astype(float)
    shared = matrix.T @ matrix
    expected = np.eye(n_items)
    for item in range(n_items):
        others = [other for other in range(n_items) if other != item and shared[item, other] >= min_shared]
        expected[item, sorted(others, key=lambda other: (-shared[item, other], other))[:n_companions]] = 1
    found = companion_graph(sp.csr_matrix(matrix), n_companions, min_shared).toarray()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rows_at_once", [512, 4])
@given(tables(n_tables=2), st.integers(1, 12))
def test_agreeing_pairs_reach_the_mean_in_both_modalities_and_are_the_nearest_of_those(rows_at_once, found, k):
    tables = [cosines_of(features.astype(np.float64)) for features in found]
    kept = (tables[0] >= tables[0].mean()) & (tables[1] >= tables[1].mean())
    with mock.patch.object(graph_module, "_ROWS_AT_ONCE", rows_at_once):
        graphs = agreement_graphs(*found, k)
    for cosines, graph in zip(tables, graphs, strict=True):
        for row, edges in enumerate(graph.toarray()):
            allowed = np.flatnonzero(kept[row])
            best = np.sort(cosines[row][allowed])[::-1][:k]
            assert set(np.flatnonzero(edges)) <= set(allowed)
            np.testing.assert_allclose(np.sort(cosines[row][edges > 0])[::-1], best, atol=1e-6)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_plain_sums_over_the_graph_are_products_with_the_matrix_of_pairs(n_users, n_items, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.random((n_users, n_items)) < 0.4
    pairs = np.nonzero(matrix)
    inputs = make_inputs(*pairs, n_users, n_items, features={}, settings=BPRSettings(), device=CPU)
    users, items = (torch.from_numpy(rng.normal(size=(n, 3)).astype(np.float32)) for n in (n_users, n_items))
    dense = torch.from_numpy(matrix.astype(np.float32))
    torch.testing.assert_close(sums_over_items(inputs, items), dense @ items, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sums_over_users(inputs, users), dense.T @ users, rtol=1e-4, atol=1e-5)
