from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.item_index import ItemIndex, exact_search
from index.recall import MOST_QUERIES, count_hits, measured_recall


def vectors_of(n: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size), dtype=np.float32)


def nothing(user: int) -> np.ndarray:
    return np.empty(0, np.int64)


def two_clusters() -> tuple[np.ndarray, ItemIndex, np.ndarray]:
    """Items in two directions, an index that looks in one of its two lists, and a query between both directions.

    By the query (4, 3), the items score 40, 80, 120 and, in the list that is not probed, 60, 90, 30.
    """
    vectors = np.array([[10, 0], [20, 0], [30, 0], [0, 20], [0, 30], [0, 10]], np.float32)
    return vectors, ItemIndex.build(vectors, "IVF2,Flat", nprobe=1), np.array([[4, 3]], np.float32)


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
    index = ItemIndex.build(vectors, factory, nprobe=4 if factory != "Flat" else None)
    recall = measured_recall(index, vectors, queries, seen.__getitem__)
    assert recall == {"recall@20": 1.0, "recall@100": 1.0}


def test_recall_is_measured_with_the_given_users_only():
    vectors = vectors_of(1_000)
    asked: list[int] = []

    def seen(user: int) -> np.ndarray:
        asked.append(user)
        return nothing(user)

    users = np.arange(1, 1_999, 2)
    narrow = ItemIndex.build(vectors, "IVF32,Flat", nprobe=1)
    recall = measured_recall(narrow, vectors, vectors_of(2_000, seed=1), seen, at=(20,), users=users)
    assert 0.05 < recall["recall@20"] < 0.9
    assert len(set(asked)) == MOST_QUERIES
    assert asked[0] == 1
    assert asked[-1] == 1_997
    assert all(user % 2 for user in asked)
