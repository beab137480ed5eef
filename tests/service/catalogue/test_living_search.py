"""New items are searched beside those of any index as one: equal to brute force over all of them, at any constraint."""

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.item_index import ItemIndex
from index.live.delta import Delta
from index.ranking import largest_norm
from service.catalogue.living_search import LivingSearch
from service.ranking.search import InlineSearch

N, LATE, D = 30, 9, 4

rng = np.random.default_rng(0)
VECTORS = rng.integers(-2, 3, (N + LATE, D)).astype(np.float32)  # many scores are equal: ties go to the lower row
QUERIES = rng.integers(-2, 3, (5, D)).astype(np.float32)

row_sets = st.sets(st.integers(0, N + LATE - 1), max_size=20).map(lambda found: np.array(sorted(found), np.int64))


def living(order: list[int], factory: str = "Flat") -> LivingSearch:
    """The late rows lie in the delta in any order, with slots between them that were replaced."""
    slots = np.repeat(np.array(order) + N, 2)
    slots[::2] = -1
    delta = Delta(VECTORS[np.maximum(slots, 0)], slots, largest_norm(VECTORS))
    return LivingSearch(InlineSearch(ItemIndex.build(VECTORS[:N], factory)), N, delta)


def brute_force(query: np.ndarray, k: int, allowed: np.ndarray) -> list[int]:
    scores = VECTORS @ query
    return [row for row in np.lexsort((np.arange(len(scores)), -scores)).tolist() if allowed[row]][:k]


@given(
    st.permutations(range(LATE)),
    st.integers(1, N + LATE + 3),
    row_sets,
    row_sets,
    st.one_of(st.none(), row_sets),
)
@settings(max_examples=60)
def test_search_equals_brute_force_over_all_items_one_by_one_and_many_at_once(order, k, exclude, hidden, within):
    search = living(order)
    search.hide(hidden)
    allowed = np.ones(N + LATE, np.bool_)
    if within is not None:
        allowed = np.isin(np.arange(N + LATE), within)
    allowed[hidden] = False
    others = [exclude, *[np.empty(0, np.int64)] * (len(QUERIES) - 1)]

    async def ask() -> list[tuple[np.ndarray, np.ndarray]]:
        together = await search.many(list(QUERIES), k, others, within)
        for query, excluded, (rows, scores) in zip(QUERIES, others, together, strict=True):
            ((alone, its_scores),) = await search.many([query], k, [excluded], within)
            np.testing.assert_array_equal(alone, rows)
            np.testing.assert_array_equal(its_scores, scores)
            if within is None:
                plain = await search(query, k, excluded)
                np.testing.assert_array_equal(plain[0], rows)
        return together

    for query, excluded, (rows, scores) in zip(QUERIES, others, asyncio.run(ask()), strict=True):
        mask = allowed.copy()
        mask[excluded] = False
        assert rows.tolist() == brute_force(query, k, mask)
        np.testing.assert_allclose(scores, VECTORS[rows] @ query)


def test_what_is_hidden_in_the_newest_state_is_hidden_in_the_index_that_all_share():
    search = living(list(range(LATE)))
    newer = LivingSearch(search._main, N, search._delta)
    newer.hide(np.array([3, N + 2]))
    assert search._main.hidden.tolist() == [3]
    newer.hide(np.array([N + 2]))
    assert search._main.hidden.tolist() == []
    assert newer.hidden.tolist() == [N + 2]


def test_an_approximate_index_has_new_items_beside_it():
    search = living(list(range(LATE)), "HNSW8")
    rows, _ = asyncio.run(search(VECTORS[N + 1], N + LATE, None))
    assert sorted(rows.tolist()) == list(range(N + LATE))
