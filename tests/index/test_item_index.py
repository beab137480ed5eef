from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import InputError
from index.item_index import ItemIndex, exact_search
from index.search_plan import MAX_OVERFETCH

EVERYWHERE: dict[str, dict[str, int]] = {
    "Flat": {},
    "FlatIPPanorama4": {},
    "IVF8,Flat": {"nprobe": 8},
    "HNSW16": {"ef_search": 512},
}
ROUNDED = ["SQ8", "SQfp16", "HNSW16_SQ8", "PQ4x4fs", "RR8,RaBitQfs", "SQ8,RFlat"]
OF_LISTS = ["IVF8,SQ8", "IVF8,SQ4", "IVF8,SQfp16", "IVF8,PQ4x4fs", "IVF8,RaBitQfs", "PCA4,IVF8,SQ8", "PCA4,Flat"]
FACTORIES = [*EVERYWHERE, "IVF8,Flat narrow", *ROUNDED, *OF_LISTS]


def vectors_of(n: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size), dtype=np.float32)


def built(vectors: np.ndarray, factory: str) -> ItemIndex:
    if factory.endswith(" narrow"):
        return ItemIndex.build(vectors, factory.removesuffix(" narrow"), nprobe=1)
    return ItemIndex.build(vectors, factory, **EVERYWHERE.get(factory, {}))


def plain_search(vectors: np.ndarray, query: np.ndarray, k: int, excluded: Sequence[int] = ()) -> list[int]:
    """By Python's own sort, in float64: the reference of the reference."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    left = set(range(len(vectors))) - set(excluded)
    return sorted(left, key=lambda row: (-scores[row], row))[:k]


def random_excludes(n: int, m: int, n_excluded: int) -> list[np.ndarray]:
    return [np.random.default_rng(query).choice(n, n_excluded, replace=False) for query in range(m)]


def test_the_best_rows_of_a_catalogue_worked_out_by_hand():
    vectors = np.array([[1, 0], [0, 1], [2, 0], [-1, 0]], np.float32)
    rows, scores = ItemIndex.build(vectors).search(np.array([1, 0], np.float32), 3)
    assert rows.tolist() == [[2, 0, 1]]
    assert scores.tolist() == [[2, 1, 0]]
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("factory", EVERYWHERE)
@pytest.mark.parametrize("n_excluded", [0, 30, MAX_OVERFETCH, MAX_OVERFETCH + 1, 490, 500])
def test_an_index_that_looks_everywhere_equals_exact_search(factory, n_excluded):
    vectors, queries = vectors_of(500), vectors_of(20, seed=1)
    exclude = random_excludes(500, 20, n_excluded)
    rows, scores = built(vectors, factory).search(queries, 20, exclude)
    exact_rows, exact_scores = exact_search(vectors, queries, 20, exclude)
    np.testing.assert_array_equal(rows, exact_rows)
    np.testing.assert_array_equal(scores, exact_scores)
    found = [row[row >= 0].tolist() for row in rows]
    assert found == [plain_search(vectors, q, 20, e.tolist()) for q, e in zip(queries, exclude, strict=True)]


@pytest.mark.parametrize("factory", FACTORIES)
@given(
    n=st.integers(260, 330),
    k=st.integers(1, 40),
    seed=st.integers(0, 999),
    n_excluded=st.sampled_from([0, 5, 129, 250]),
)
@settings(max_examples=6, deadline=None)
def test_one_by_one_equals_all_at_once_and_nothing_excluded_returns(factory, n, k, seed, n_excluded):
    index, queries = built(vectors_of(n, seed=seed), factory), vectors_of(25, seed=seed + 1)
    exclude = random_excludes(n, 25, n_excluded)
    rows, scores = index.search(queries, k, exclude)
    single = [index.search(query, k, one) for query, one in zip(queries, exclude, strict=True)]
    np.testing.assert_array_equal(rows, np.concatenate([one[0] for one in single]))
    np.testing.assert_array_equal(scores, np.concatenate([one[1] for one in single]))
    for found, left_out in zip(rows, exclude, strict=True):
        assert not set(found.tolist()) & set(left_out.tolist())
        assert np.count_nonzero(found >= 0) == min(k, n - n_excluded)
        assert len(set(found[found >= 0].tolist())) == np.count_nonzero(found >= 0)


@pytest.mark.parametrize("factory", EVERYWHERE)
@pytest.mark.parametrize("k", [1, 3, 50, 99, 100])
def test_equal_items_across_the_cut_come_by_lower_row(factory, k):
    """A hundred copies of the best item, scattered, among worse ones."""
    rng = np.random.default_rng(3)
    vectors = vectors_of(400) / 100
    copies = np.sort(rng.choice(400, 100, replace=False))
    vectors[copies] = vectors[copies[0]] = np.full(8, 1, np.float32)
    queries = np.stack([np.full(8, 0.3, np.float32)] * 30)
    rows, _ = built(vectors, factory).search(queries, k, copies[:2])
    expected = [*copies[2 : k + 2].tolist()] + [None] * max(0, k - 98)
    for found in rows.tolist():
        assert found[:98] == expected[:98]
        assert len(set(found)) == k


def test_a_query_that_tells_nothing_apart_gets_the_lowest_rows():
    rows, scores = ItemIndex.build(vectors_of(300)).search(np.zeros(8, np.float32), 4, np.array([1]))
    assert rows.tolist() == [[0, 2, 3, 4]]
    assert scores.tolist() == [[0, 0, 0, 0]]


def test_one_list_of_excluded_rows_holds_for_every_query():
    index, queries = ItemIndex.build(vectors_of(50)), vectors_of(4, seed=1)
    shared = np.array([3, 4, 3, 20])  # a repeated row does no harm
    for ours, theirs in zip(index.search(queries, 5, shared), index.search(queries, 5, [shared] * 4), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n_hidden", [3, 200])
def test_hidden_rows_never_return_and_come_back_when_shown(n_hidden):
    vectors, query, seen = vectors_of(300), vectors_of(1, seed=1)[0], np.array([5, 6, 7])
    shown = ItemIndex.build(vectors)
    hidden = np.array(plain_search(vectors, query, n_hidden))
    index = shown.with_hidden(hidden)
    assert index.search(query, 9, seen)[0][0].tolist() == plain_search(vectors, query, 9, [*hidden, *seen])
    assert index.with_hidden(np.array([], np.int64)).search(query, 9)[0][0].tolist() == plain_search(vectors, query, 9)
    assert index.vectors is shown.vectors
    assert index.engine is shown.engine


def test_several_threads_may_search_at_once():
    index, queries, exclude = ItemIndex.build(vectors_of(2_000)), vectors_of(200, seed=1), np.arange(500)
    alone = [index.search(query, 10, exclude)[0].tolist() for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: index.search(query, 10, exclude)[0].tolist(), queries))
    assert together == alone


def test_fewer_items_than_asked_for_are_filled_up_with_minus_one():
    index = ItemIndex.build(vectors_of(5))
    rows, scores = index.search(vectors_of(2, seed=1), 8, np.array([1, 2]))
    assert (rows[:, 3:] == -1).all()
    assert np.isneginf(scores[:, 3:]).all()
    assert [sorted(row[:3].tolist()) for row in rows] == [[0, 3, 4]] * 2


@pytest.mark.parametrize("k", [0, -1, 10**9])
def test_a_k_that_is_no_length_is_refused(k):
    with pytest.raises(InputError, match=f"k is {k}; expected 1..16384"):
        ItemIndex.build(vectors_of(5)).search(vectors_of(1), k)


BAD_SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({"queries": np.zeros(7, np.float32)}, r"queries have shape \(7,\); expected \(8,\) or \(m, 8\)"),
    ({"queries": np.zeros((2, 2, 8), np.float32)}, "queries have shape"),
    ({"queries": np.full(8, np.nan, np.float32)}, "not finite"),
    ({"exclude": np.array([50])}, "excluded rows run from 50 to 50; expected 0..49"),
    ({"exclude": np.array([-1])}, "excluded rows run from -1"),
    ({"exclude": np.array([0.5])}, "excluded rows are float64"),
    ({"exclude": [np.array([1])] * 3}, "exclude has 3 arrays of rows; expected one for each of 1"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD_SEARCHES)
def test_a_wrong_search_is_refused_with_what_was_found(wrong, message):
    with pytest.raises(InputError, match=message):
        ItemIndex.build(vectors_of(50)).search(**({"queries": vectors_of(1), "k": 3} | wrong))


BAD_VECTORS = [np.zeros((0, 8), np.float32), np.zeros((4, 8)), np.zeros(8, np.float32), np.full((4, 8), np.inf, "f4")]


@pytest.mark.parametrize("vectors", BAD_VECTORS)
def test_vectors_that_cannot_be_indexed_are_refused(vectors):
    with pytest.raises(InputError, match="vectors"):
        ItemIndex.build(vectors)


@pytest.mark.parametrize("wrong", [{"nprobe": 0}, {"ef_search": -1}, {"rerank": 0}])
def test_a_search_setting_below_one_is_refused(wrong):
    with pytest.raises(InputError, match="expected at least 1"):
        ItemIndex.build(vectors_of(300), "IVF8,Flat", **wrong)


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_index_read_from_its_file_answers_as_the_one_that_was_written(tmp_path: Path, factory):
    vectors, queries, exclude = vectors_of(400), vectors_of(10, seed=1), np.arange(150)
    index = built(vectors, factory).with_settings({"nprobe": 3, "rerank": 2})
    index.write(tmp_path / "item.faiss")
    for mapped in (True, False):
        read = ItemIndex.read(tmp_path / "item.faiss", vectors, mapped=mapped, settings=index.settings)
        assert read.settings == index.settings
        for found, expected in zip(read.search(queries, 7, exclude), index.search(queries, 7, exclude), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW16", "IVF8,SQ8", "SQfp16"])
def test_an_index_read_without_its_vectors_scores_by_what_it_kept(tmp_path: Path, factory):
    index = ItemIndex.build(vectors_of(400), factory)
    index.write(tmp_path / "item.faiss")
    queries, exclude = vectors_of(10, seed=1), np.arange(150)
    _, scores = ItemIndex.read(tmp_path / "item.faiss").search(queries, 7, exclude)
    np.testing.assert_allclose(scores, index.search(queries, 7, exclude)[1], atol=0.2 if "SQ" in factory else 0)


def test_an_index_of_other_vectors_is_refused(tmp_path):
    ItemIndex.build(vectors_of(40)).write(tmp_path / "item.faiss")
    with pytest.raises(InputError, match=r"holds 40 vectors of 8; expected \(41, 8\)"):
        ItemIndex.read(tmp_path / "item.faiss", vectors_of(41))


def test_search_settings_have_defaults_and_are_kept():
    assert ItemIndex.build(vectors_of(300), "IVF20,Flat").settings == {"nprobe": 16}
    assert ItemIndex.build(vectors_of(300), "IVF20,Flat", nprobe=99).settings == {"nprobe": 20}
    assert ItemIndex.build(vectors_of(300), "HNSW16").settings == {"ef_search": 64}
    assert ItemIndex.build(vectors_of(300), "PQ4x4fs", rerank=5).settings == {"rerank": 5}
    assert ItemIndex.build(vectors_of(300)).settings == {}


def test_settings_of_one_try_do_not_outlive_the_next():
    index = ItemIndex.build(vectors_of(300), "PCA4,IVF8,SQ8")
    assert index.with_settings({"nprobe": 2, "rerank": 8}).settings == {"nprobe": 2, "rerank": 8}
    assert index.with_settings({"nprobe": 3, "rerank": 1}).settings == {"nprobe": 3}


def test_a_search_setting_that_is_unknown_or_too_large_for_faiss_is_refused():
    with pytest.raises(InputError, match="'n_probe' is unknown; expected one of nprobe, ef_search, rerank"):
        ItemIndex.build(vectors_of(300)).with_settings({"n_probe": 3})
    with pytest.raises(InputError, match="ef_search is 1000001; expected at least 1, at most 1000000"):
        ItemIndex.build(vectors_of(300), "HNSW16").with_settings({"ef_search": 1_000_001})


@pytest.mark.parametrize("factory", FACTORIES)
@settings(max_examples=15)
@given(share=st.sampled_from([0, 0.001, 0.02, 0.3, 1]), k=st.sampled_from([1, 7, 60]), seed=st.integers(0, 999))
def test_a_search_within_some_rows_is_brute_force_over_them(factory, share, k, seed):
    rng = np.random.default_rng(seed)
    vectors, queries = vectors_of(400, seed=seed), vectors_of(3, seed=seed + 1)
    within = np.flatnonzero(rng.random(400) < share)
    exclude = [rng.integers(0, 400, 9) for _ in queries]
    index = built(vectors, factory).with_hidden(rng.integers(0, 400, 5))
    rows, scores = index.search(queries, k, exclude, within)
    others = np.setdiff1d(np.arange(400), within)
    left_out = [np.concatenate([others, index.hidden, of_one]) for of_one in exclude]
    expected_rows, expected_scores = exact_search(vectors, queries, k, left_out)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("factory", EVERYWHERE)
def test_a_search_within_many_rows_uses_the_index_and_leaves_the_others_out(factory, monkeypatch):
    monkeypatch.setattr("index.search_plan.SCORED_ROOT", 1)
    vectors, queries, within = vectors_of(900), vectors_of(6, seed=1), np.arange(0, 900, 3)
    found = built(vectors, factory).search(queries, 20, np.arange(30), within)
    left_out = np.union1d(np.setdiff1d(np.arange(900), within), np.arange(30))
    expected = exact_search(vectors, queries, 20, left_out)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
