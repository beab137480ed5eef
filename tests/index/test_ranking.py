import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.ranking import best_of, exact_search, rounding_error


def scored(vectors: np.ndarray, candidates: np.ndarray, query: np.ndarray) -> dict[int, float]:
    allowed = np.ones((1, len(candidates)), np.bool_)
    rows, scores = best_of(candidates[None], allowed, vectors, query[None], len(candidates))
    return dict(zip(rows[0].tolist(), scores[0].tolist(), strict=True))


@given(n=st.integers(2, 80), size=st.sampled_from([1, 3, 8, 31, 64, 100, 257]), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_a_rows_score_does_not_depend_on_its_company(n, size, seed):
    rng = np.random.default_rng(seed)
    vectors, query = rng.standard_normal((n, size), dtype=np.float32), rng.standard_normal(size, dtype=np.float32)
    together = scored(vectors, np.arange(n), query)
    some = rng.permutation(n)[: rng.integers(1, n)]
    assert scored(vectors, some, query).items() <= together.items()
    assert scored(vectors, some[:1], query).items() <= together.items()


@given(size=st.integers(1, 300), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_two_ways_of_summing_differ_by_no_more_than_the_bound(size, seed):
    rng = np.random.default_rng(seed)
    vectors, query = rng.standard_normal((50, size), dtype=np.float32), rng.standard_normal(size, dtype=np.float32)
    norm = float(np.linalg.norm(vectors, axis=1).max())
    one, other = vectors @ query, np.cumsum(vectors * query, axis=1, dtype=np.float32)[:, -1]
    assert np.abs(one - other).max() <= rounding_error(query[None], norm)[0]


def test_what_is_not_allowed_and_what_there_is_none_of_is_padding():
    vectors, queries = np.eye(3, dtype=np.float32), np.array([[1, 0, 2], [1, 3, 2]], np.float32)
    candidates, allowed = np.array([[2, 0, 1], [0, 1, -1]]), np.array([[True, True, False], [True, True, False]])
    rows, scores = best_of(candidates, allowed, vectors, queries, 4)
    assert rows.tolist() == [[2, 0, -1, -1], [1, 0, -1, -1]]
    assert scores.tolist() == [[2, 1, -np.inf, -np.inf], [3, 1, -np.inf, -np.inf]]


@given(m=st.integers(1, 9), c=st.integers(1, 300), size=st.sampled_from([1, 8, 31, 64, 257]), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_queries_scored_together_get_what_each_gets_alone(m, c, size, seed):
    rng = np.random.default_rng(seed)
    vectors, queries = (rng.standard_normal((n, size), dtype=np.float32) for n in (50, m))
    candidates, allowed = rng.integers(0, 50, (m, c)), rng.random((m, c)) < 0.8
    together = best_of(candidates, allowed, vectors, queries, 10)
    alone = [best_of(candidates[i, None], allowed[i, None], vectors, queries[i, None], 10) for i in range(m)]
    assert [part.tolist() for part in together] == [np.concatenate(part).tolist() for part in zip(*alone, strict=True)]


@pytest.mark.parametrize("n", [1, 5, 300])
def test_exact_search_leaves_out_even_everything(n):
    vectors = np.ones((n, 2), np.float32)
    rows, scores = exact_search(vectors, np.ones((2, 2), np.float32), 3, [np.arange(n), np.arange(n - 1)])
    assert rows.tolist() == [[-1, -1, -1], [n - 1, -1, -1]]
    assert np.isneginf(scores[0]).all()
