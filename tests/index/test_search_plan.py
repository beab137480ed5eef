"""Searches that leave rows out are as good as those that do not, whichever way is fastest."""

import numpy as np
import pytest

from index.benchmarks.clustered_vectors import clustered_vectors
from index.item_index import ItemIndex, exact_search
from index.search_plan import MAX_OVERFETCH, SCORE, plan_search

DATA = clustered_vectors(20_000, 8, n_queries=40)
NARROW = ItemIndex.build(DATA.vectors, "IVF64,Flat", nprobe=8)


def recall(index: ItemIndex, exclude: list[np.ndarray], within: np.ndarray | None = None) -> float:
    n = len(index)
    others = np.array([], np.int64) if within is None else np.setdiff1d(np.arange(n), within)
    left_out = [np.union1d(rows, others) for rows in exclude]
    _, exact = exact_search(index.vectors, DATA.queries, 20, left_out)
    _, found = index.search(DATA.queries, 20, exclude, within)
    return float(np.mean(found >= exact[:, -1:]))


def none_excluded() -> list[np.ndarray]:
    return [np.array([], np.int64)] * len(DATA.queries)


def random_rows(n: int, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


@pytest.mark.parametrize("n_allowed", [20, 500, 9_000])
def test_an_approximate_index_is_exact_where_exclusion_leaves_few_rows(n_allowed):
    exclude = [random_rows(20_000, 20_000 - n_allowed, seed) for seed in range(len(DATA.queries))]
    assert recall(NARROW, exclude) == 1


@pytest.mark.parametrize("count", [2, 200, 9_000])
def test_an_approximate_index_is_exact_within_few_rows(count):
    assert recall(NARROW, none_excluded(), random_rows(20_000, count, 1)) == 1


@pytest.mark.parametrize("overfetch_from", [1_000, 10**6])
def test_within_two_thirds_of_the_rows_an_approximate_index_loses_no_recall(monkeypatch, overfetch_from):
    """Whether they are spread evenly or lie far from the queries, as those of a category may."""
    monkeypatch.setattr("index.search_plan.OVERFETCH_FROM", overfetch_from)
    far = np.sort(np.argsort(DATA.vectors @ DATA.queries.mean(axis=0))[:14_500])
    for within in (random_rows(20_000, 14_500, 1), far):
        assert plan_search(NARROW.engine, 20_000, 20, 0, len(within)).select == (overfetch_from > 20_000)
        assert recall(NARROW, none_excluded(), within) >= recall(NARROW, none_excluded())


@pytest.mark.parametrize("n_excluded", [MAX_OVERFETCH, MAX_OVERFETCH + 1, 2_000, 5_000])
def test_excluding_the_best_rows_costs_an_exhaustive_index_nothing(n_excluded):
    flat = ItemIndex.build(DATA.vectors)
    exclude = [np.argsort(-(DATA.vectors @ query))[:n_excluded] for query in DATA.queries]
    assert recall(flat, exclude) == 1


def test_a_large_exhaustive_index_fetches_more_and_stays_exact_where_the_filter_leaves_the_worst(monkeypatch):
    monkeypatch.setattr("index.search_plan.OVERFETCH_FROM", 1_000)
    flat = ItemIndex.build(DATA.vectors)
    worst = np.sort(np.argsort(DATA.vectors @ DATA.queries[0])[:10_000])
    for within in (random_rows(20_000, 10_000, 1), worst):
        assert not plan_search(flat.engine, 20_000, 20, 0, len(within)).select
        assert recall(flat, none_excluded(), within) == 1
        assert recall(flat, [random_rows(20_000, 100, seed) for seed in range(40)], within) == 1


def test_an_index_that_takes_no_bitmap_gives_k_rows_whatever_is_excluded():
    index = ItemIndex.build(DATA.vectors, "PQ4x4fs")
    assert not index.engine.takes_selector
    exclude = [np.argsort(-(DATA.vectors @ query))[:5_000] for query in DATA.queries]
    rows, _ = index.search(DATA.queries, 20, exclude)
    assert (rows >= 0).all()
    assert not any(set(found) & set(left_out) for found, left_out in zip(rows.tolist(), exclude, strict=True))


def test_reranking_counts_allowed_rows_whatever_is_excluded():
    """The excluded rows are those that the index would find first."""
    for factory in ("PQ4x4fs", "IVF64,PQ4x4fs"):
        index = ItemIndex.build(DATA.vectors, factory, nprobe=64, rerank=40)
        exclude = [np.argsort(-(DATA.vectors @ query))[:2_000] for query in DATA.queries]
        assert recall(index, exclude) > recall(index.with_settings({"rerank": 1}), exclude) + 0.2


def test_an_index_without_bitmaps_searches_a_large_share_of_many_rows_itself(monkeypatch):
    monkeypatch.setattr("index.search_plan.OVERFETCH_FROM", 1_000)
    index = ItemIndex.build(DATA.vectors, "IVF64,PQ4x4fs", nprobe=32, rerank=40)
    far = np.sort(np.argsort(DATA.vectors @ DATA.queries.mean(axis=0))[:10_000])
    for within in (random_rows(20_000, 10_000, 1), far):
        assert plan_search(index.engine, 20_000, 20, 0, len(within)) == (4_096, False, 3)
        assert recall(index, none_excluded(), within) > 0.95
    rows, _ = index.search(DATA.queries, 20, [random_rows(20_000, 9_000, seed) for seed in range(40)], far)
    assert np.isin(rows, far).all()


def test_a_plan_follows_from_how_many_rows_are_left():
    engine = NARROW.engine
    assert plan_search(engine, 1_000_000, 20, 30, None) == (128, False, 1)
    assert plan_search(engine, 1_000_000, 20, 200_000, None) == (64, True, 1.25)
    assert plan_search(engine, 1_000_000, 20, 990_000, None) == SCORE
    assert plan_search(engine, 1_000_000, 20, 0, 250_000) == (512, False, 6)
    assert plan_search(engine, 1_000_000, 20, 200, 250_000) == (64, True, 6)
