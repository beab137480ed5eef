import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import InputError
from index.item_index import ItemIndex, exact_search, measured_recall

FACTORIES = ["Flat", "IVF8,Flat", "HNSW16", "SQ8"]
EXACT_WHEN_WIDE = {"Flat": {}, "IVF8,Flat": {"nprobe": 8}, "HNSW16": {"ef_search": 512}}


def vectors_of(n: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size), dtype=np.float32)


def plain_search(vectors, query, k, excluded=()):
    """By Python's own sort, in float64: the reference of the reference."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    order = sorted((row for row in range(len(vectors)) if row not in set(excluded)), key=lambda r: (-scores[r], r))
    return order[:k]


def test_the_best_rows_of_a_catalogue_worked_out_by_hand():
    vectors = np.array([[1, 0], [0, 1], [2, 0], [-1, 0]], np.float32)
    rows, scores = ItemIndex.build(vectors).search(np.array([1, 0], np.float32), 3)
    assert rows.tolist() == [[2, 0, 1]]
    assert scores.tolist() == [[2, 1, 0]]
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("factory", EXACT_WHEN_WIDE)
@pytest.mark.parametrize("n_excluded", [0, 30, 300])
def test_an_index_that_looks_everywhere_equals_exact_search(factory, n_excluded):
    vectors, queries = vectors_of(500), vectors_of(20, seed=1)
    exclude = [np.random.default_rng(i).choice(500, n_excluded, replace=False) for i in range(20)]
    index = ItemIndex.build(vectors, factory, **EXACT_WHEN_WIDE[factory])
    rows, scores = index.search(queries, 10, exclude)
    exact_rows, exact_scores = exact_search(vectors, queries, 10, exclude)
    np.testing.assert_array_equal(rows, exact_rows)
    np.testing.assert_array_equal(scores, exact_scores)
    assert rows.tolist() == [plain_search(vectors, q, 10, e.tolist()) for q, e in zip(queries, exclude, strict=True)]
