"""Searches from many threads agree with those of one, for every kind of index, with and without a delta beside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from index.benchmarks.clustered_vectors import clustered_vectors
from index.ids import IdTable
from index.item_index import ItemIndex
from index.live.live_index import LiveIndex

N = 3_000
DATA = clustered_vectors(N, 16, n_queries=60)
KINDS: dict[str, dict[str, int]] = {
    "Flat": {},
    "IVF32,Flat": {"nprobe": 8},
    "IVF32,SQ8": {"nprobe": 8},
    "HNSW16": {"ef_search": 64},
    "HNSW16_SQ8": {"ef_search": 64},
    "SQ8": {},
    "PQ8x4fs": {},
    "IVF32,PQ8x4fs": {"nprobe": 8},
    "RR16,RaBitQfs": {},
    "PCA8,IVF32,SQ8": {"nprobe": 8},
    "PCA8,Flat": {},
}
WITHIN = np.arange(0, N, 2)
Search = Callable[..., tuple[np.ndarray, np.ndarray]]


def searches() -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Every way to leave rows out, in turn."""
    excluded = np.random.default_rng(1).choice(N, 1_000, replace=False)
    ways: list[dict[str, Any]] = [
        {},
        {"exclude": excluded[:30]},
        {"exclude": excluded},
        {"within": WITHIN},
        {"within": WITHIN[:40], "exclude": excluded},
    ]
    return [(query, ways[i % len(ways)]) for i, query in enumerate(DATA.queries)]


def assert_threads_agree(search: Search) -> None:
    def found(case: tuple[np.ndarray, dict[str, Any]]) -> tuple[list[int], list[float]]:
        rows, scores = search(case[0], 20, **case[1])
        return rows[0].tolist(), scores[0].tolist()

    alone = [found(case) for case in searches()]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(found, searches() * 4))
    assert together == alone * 4


@pytest.mark.parametrize("kind", KINDS)
def test_searches_from_many_threads_agree_with_one(kind):
    assert_threads_agree(ItemIndex.build(DATA.vectors, kind, **KINDS[kind]).search)


@pytest.mark.parametrize("kind", KINDS)
def test_searches_of_a_live_index_from_many_threads_agree_with_one(kind, tmp_path):
    ids = IdTable.build([f"i{row}" for row in range(N)])
    main = ItemIndex.build(DATA.vectors, kind, **KINDS[kind])
    live = LiveIndex(tmp_path / "delta", main, ids, "bundle", build=ItemIndex.build)
    new = {f"new{i}": 1.1 * DATA.vectors[i] for i in range(100)}
    live.change(new | {f"i{i}": DATA.vectors[i + 1] for i in range(100, 200)}, [f"i{i}" for i in range(300, 350)])
    assert_threads_agree(live.snapshot.search)
    live.close()


def test_searches_while_items_change_see_each_change_whole(tmp_path):
    """Two items always change together, so that a search finds both or neither."""
    vectors, query = np.zeros((N, 4), np.float32), np.ones(4, np.float32)
    ids = IdTable.build([f"i{row}" for row in range(N)])
    live = LiveIndex(tmp_path / "delta", ItemIndex.build(vectors), ids, "bundle", build=ItemIndex.build)

    def change() -> None:
        for i in range(60):
            pair = {"a": (1 + i) * query, "i7": (1 + i) * query}
            live.change(pair) if i % 3 else live.change({}, pair)
            if i % 20 == 10:
                live.compact()

    def halves() -> list[list[float]]:
        found = [live.snapshot.search(query, 2)[1][0].tolist() for _ in range(300)]
        return [scores for scores in found if scores[0] != scores[1]]

    with ThreadPoolExecutor(5) as pool:
        changing = pool.submit(change)
        assert [halves for halving in [pool.submit(halves) for _ in range(4)] for halves in halving.result()] == []
        changing.result()
    live.close()
