"""A scan in blocks gives what brute force gives, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import block_scan
from index.block_scan import GROUP, MORE_CANDIDATES, PRODUCT_ROWS, QUERIES_AT_ONCE, scan_blocks, scans_blocks
from index.item_index import ItemIndex
from index.ranking import exact_search, largest_norm, rounding_error

NOTHING = np.empty(0, np.int64)


def normal(n: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size), dtype=np.float32)


def assert_exact(
    vectors: np.ndarray, queries: np.ndarray, k: int, excluded: list[np.ndarray], hidden: np.ndarray = NOTHING
) -> None:
    error = rounding_error(queries, largest_norm(vectors))
    found = scan_blocks(vectors, queries, k, excluded=excluded, hidden=hidden, error=error)
    expected = exact_search(vectors, queries, k, [np.concatenate([hidden, one]) for one in excluded])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@given(
    n=st.sampled_from([GROUP, PRODUCT_ROWS - 1, PRODUCT_ROWS, PRODUCT_ROWS + 1, 3 * PRODUCT_ROWS + 77]),
    m=st.sampled_from([1, 2, QUERIES_AT_ONCE, QUERIES_AT_ONCE + 3]),
    size=st.sampled_from([1, 8, 65]),
    levels=st.sampled_from([1, 2, 1_000]),  # few levels: many ties
    k=st.integers(1, 16),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_a_scan_equals_brute_force_at_every_size(*, n, m, size, levels, k, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-levels, levels + 1, (n, size)).astype(np.float32)
    queries = rng.integers(-levels, levels + 1, (m, size)).astype(np.float32)
    excluded = [rng.choice(n, int(rng.integers(0, n + 1)), replace=False) for _ in range(m)]
    assert_exact(vectors, queries, min(k, -(-n // GROUP)), excluded, rng.choice(n, n // 10, replace=False))


def test_where_too_few_rows_are_left_the_rest_is_padding():
    vectors, queries = normal(2_000), normal(3, seed=1)
    left = np.array([5, 1_999])
    excluded = np.setdiff1d(np.arange(2_000), left)
    assert_exact(vectors, queries, 9, [excluded, np.arange(2_000), NOTHING])
    rows, scores = scan_blocks(
        vectors, queries, 9, excluded=[excluded] * 3, hidden=np.array([5]), error=np.zeros(3, np.float32)
    )
    assert rows[:, 0].tolist() == [1_999] * 3
    assert (rows[:, 1:] == -1).all()
    assert np.isneginf(scores[:, 1:]).all()


def test_a_query_with_more_ties_than_are_read_together_is_searched_alone(monkeypatch):
    alone = []

    def noted(vectors, query, k, exclude):
        alone.append(query.tolist())
        return exact_search(vectors, query, k, exclude)

    monkeypatch.setattr(block_scan, "exact_search", noted)
    vectors = normal(4_000)
    vectors[: MORE_CANDIDATES + 8] = 9
    queries = np.stack([np.ones(8), -np.ones(8), np.zeros(8)]).astype(np.float32)
    assert_exact(vectors, queries, 7, [np.array([0])] * 3)  # as many as are read together
    assert queries[0].tolist() not in alone
    assert_exact(vectors, queries, 7, [NOTHING] * 3)
    assert alone.count(queries[0].tolist()) == 1
    assert alone.count(queries[2].tolist()) == 2
    assert len(alone) == 3


@pytest.mark.parametrize("factory", ["HNSW16", "FlatIPPanorama4"])
def test_only_a_plain_flat_index_on_the_cpu_is_scanned_and_only_for_lists_shorter_than_its_groups(factory):
    flat = ItemIndex.build(normal(640)).engine
    assert scans_blocks(flat, 640, 20)
    assert not scans_blocks(flat, 640, 21)
    assert not scans_blocks(replace(flat, device="gpu:0"), 640, 20)
    assert not scans_blocks(ItemIndex.build(normal(640), factory).engine, 640, 20)
