from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import recall
from index.item_index import ItemIndex, exact_search
from index.recall import MOST_QUERIES, OneSearch, count_hits, hits_of, is_exact, measured_recall


def vectors_of(n: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size), dtype=np.float32)


def narrow(vectors: np.ndarray, factory: str, nprobe: int = 1) -> ItemIndex:
    index = ItemIndex.build(vectors, factory)
    index.engine.index.nprobe = nprobe
    return index


def nothing(user: int) -> np.ndarray:
    return np.empty(0, np.int64)


def two_clusters() -> tuple[np.ndarray, ItemIndex, np.ndarray]:
    """Items in two directions, an index that looks in one of its two lists, and a query between both directions.

    By the query (4, 3), the items score 40, 80, 120 and, in the list that is not probed, 60, 90, 30.
    """
    vectors = np.array([[10, 0], [20, 0], [30, 0], [0, 20], [0, 30], [0, 10]], np.float32)
    return vectors, narrow(vectors, "IVF2,Flat"), np.array([[4, 3]], np.float32)


def test_a_narrow_index_misses_the_known_items_of_the_other_list():
    vectors, index, query = two_clusters()
    assert exact_search(vectors, query, 3)[0].tolist() == [[2, 4, 1]]
    assert index.search(query, 3)[0].tolist() == [[2, 1, 0]]
    assert measured_recall(index, vectors, query, nothing, at=(1, 3)) == {"recall@1": 1, "recall@3": 2 / 3}


def test_a_seen_item_is_neither_a_hit_nor_a_miss():
    vectors, index, query = two_clusters()
    without_the_missed_one = measured_recall(index, vectors, query, lambda _: np.array([4]), at=(2,))
    without_a_found_one = measured_recall(index, vectors, query, lambda _: np.array([2]), at=(2,))
    assert without_the_missed_one == {"recall@2": 1}
    assert without_a_found_one == {"recall@2": 1 / 2}


@pytest.mark.parametrize("n_seen", [5, 6])
def test_recall_counts_no_more_items_than_a_user_has_left(n_seen):
    vectors, _, query = two_clusters()
    index = ItemIndex.build(vectors)
    assert measured_recall(index, vectors, query, lambda _: np.arange(n_seen), at=(4,)) == {"recall@4": 1}


def test_users_who_have_seen_more_count_by_what_they_have_left():
    found = np.array([[9, 7, -np.inf], [5, 4, 3]], np.float32)
    exact = np.array([[9, 8, -np.inf], [5, 5, 4]], np.float32)
    assert count_hits(found, exact) == (3, 5)
    assert count_hits(exact, exact) == (5, 5)


def test_recall_does_not_count_a_tie_as_a_miss():
    vectors = np.ones((500, 8), np.float32)
    last_rows_first = replace(ItemIndex.build(vectors), hidden=np.arange(300))
    assert measured_recall(last_rows_first, vectors, vectors[:3], nothing, at=(20,)) == {"recall@20": 1.0}


@settings(max_examples=30)
@given(
    factory=st.sampled_from(["Flat", "IVF4,Flat"]), share=st.sampled_from([0, 0.02, 0.5, 1]), seed=st.integers(0, 999)
)
def test_the_recall_of_an_index_that_looks_everywhere_is_one_whatever_is_excluded(factory, share, seed):
    vectors, queries = vectors_of(300, seed=seed), vectors_of(6, seed=seed + 1)
    rng = np.random.default_rng(seed)
    seen = [np.flatnonzero(rng.random(300) < share) for _ in queries]
    index = ItemIndex.build(vectors) if factory == "Flat" else narrow(vectors, factory, nprobe=4)
    assert measured_recall(index, vectors, queries, seen.__getitem__) == {"recall@20": 1.0, "recall@100": 1.0}


def test_so_many_users_are_measured_evenly_spaced_as_exact_search_has_time_for():
    vectors = vectors_of(1_000)
    asked: list[int] = []

    def seen(user: int) -> np.ndarray:
        asked.append(user)
        return nothing(user)

    found = measured_recall(narrow(vectors, "IVF32,Flat"), vectors, vectors_of(2_000, seed=1), seen, at=(20,))
    assert 0.05 < found["recall@20"] < 0.9
    assert len(set(asked)) == MOST_QUERIES
    assert (asked[0], asked[-1]) == (0, 1_999)
    assert max(np.diff(asked)) - min(np.diff(asked)) <= 1


# One search that the service made


def search_of(index, query, k, exclude, within=None) -> OneSearch:
    rows, scores = index.search(query, k, exclude, within)
    return OneSearch(index, query, k, exclude, within, scores[0][rows[0] >= 0])


def test_the_hits_of_a_longer_search_are_those_of_its_first_results():
    _, index, (query,) = two_clusters()
    found = [hits_of(search_of(index, query, 3, nothing(0)), at=at, go_on=lambda: True) for at in (1, 2, 3, 20)]
    assert found == [(1, 1), (1, 2), (2, 3), (2, 3)]


def test_only_an_index_that_scores_every_vector_in_full_is_exact():
    found = {factory: is_exact(ItemIndex.build(vectors_of(300), factory)) for factory in ("Flat", "SQ8", "IVF4,Flat")}
    assert found == {"Flat": True, "SQ8": False, "IVF4,Flat": False}


@settings(max_examples=60)
@given(
    nprobe=st.sampled_from([1, 4]),
    k=st.sampled_from([1, 5, 20]),
    shares=st.tuples(st.sampled_from([None, 0.0, 0.02, 0.5]), st.sampled_from([0, 0.05, 1])),
    at_once=st.sampled_from([8, 99, 10_000]),
    seed=st.integers(0, 999),
)
def test_the_hits_of_one_search_are_those_of_exact_search(nprobe, k, shares, at_once, seed):
    within, excluded = shares
    rng = np.random.default_rng(seed)
    vectors, query = vectors_of(300, seed=seed), vectors_of(1, seed=seed + 1)[0]
    index = narrow(vectors, "IVF4,Flat", nprobe).with_hidden(rng.integers(0, 300, 9))
    exclude = np.flatnonzero(rng.random(300) < excluded)
    only = None if within is None else np.flatnonzero(rng.random(300) < within)
    others = [] if only is None else np.setdiff1d(np.arange(300), only)
    _, exact = exact_search(vectors, query, k, np.concatenate([exclude, index.hidden, others]).astype(np.int64))
    _, scores = index.search(query, k, exclude, only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "_FLOATS_AT_ONCE", at_once)
        found = hits_of(search_of(index, query, k, exclude, only), at=60, go_on=lambda: True)
    assert found == count_hits(scores, exact)
    assert nprobe == 1 or found[0] == found[1]


def test_of_one_search_too_a_seen_item_is_neither_a_hit_nor_a_miss():
    _, index, (query,) = two_clusters()
    for seen, expected in (([], (2, 3)), ([4], (2, 3)), ([3, 4], (3, 3)), ([3, 4, 5, 2], (2, 2))):
        exclude = np.array(seen, np.int64)
        assert hits_of(search_of(index, query, 3, exclude), at=20, go_on=lambda: True) == expected


def test_the_exact_search_beside_one_search_ends_after_a_block_that_may_not_go_on(monkeypatch):
    vectors, index, (query,) = two_clusters()
    monkeypatch.setattr(recall, "_FLOATS_AT_ONCE", 2 * vectors.shape[1])
    answers = iter([True, False])
    assert hits_of(search_of(index, query, 3, nothing(0)), at=20, go_on=lambda: next(answers)) is None
    assert list(answers) == []
