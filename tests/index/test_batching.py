import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from index.batching import BatchingSearcher
from index.errors import InputError
from index.item_index import ItemIndex


def vectors_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 8), dtype=np.float32)


class Watched:
    """Stands where the FAISS index stands: notes sizes and threads, waits to be let through, fails when told to."""

    def __init__(self, index: ItemIndex) -> None:
        self.faiss = index.engine.index
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: Exception | None = None

    def search(self, queries: np.ndarray, k: int, params: Any = None) -> Any:
        self.batches.append(len(queries))
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(30)
        if self.error:
            raise self.error
        return self.faiss.search(queries, k, params=params)


def watched(index: ItemIndex) -> tuple[ItemIndex, Watched]:
    watch = Watched(index)
    return replace(index, engine=replace(index.engine, index=watch, device="gpu:0")), watch


@pytest.fixture
def plain() -> ItemIndex:
    return ItemIndex.build(vectors_of(200))


@pytest.fixture
def searchers() -> Iterator[list[BatchingSearcher]]:
    opened: list[BatchingSearcher] = []
    yield opened
    for searcher in opened:
        searcher.close()


def held(searchers: list[BatchingSearcher], index: ItemIndex, **options: Any) -> tuple[BatchingSearcher, Watched]:
    """A searcher whose thread stands in its first search until the watch's gate is set."""
    watching, watch = watched(index)
    searcher = BatchingSearcher(watching, **options)
    searchers.append(searcher)
    watch.gate.clear()
    searcher.submit(vectors_of(1)[0], 1)
    assert watch.entered.wait(30)
    return searcher, watch


def test_many_threads_get_what_a_search_of_their_own_would_give(plain, searchers):
    watching, watch = watched(plain)
    searcher = BatchingSearcher(watching)
    searchers.append(searcher)
    queries, excludes = vectors_of(300, seed=1), [np.arange(row % 40) for row in range(300)]
    ks = [3 if row % 2 else 10 for row in range(300)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda q, k, e: searcher.submit(q, k, e).result(30), queries, ks, excludes))
    for query, k, exclude, (rows, scores) in zip(queries, ks, excludes, answers, strict=True):
        own_rows, own_scores = plain.search(query, k, exclude)
        np.testing.assert_array_equal(rows, own_rows[0])
        np.testing.assert_array_equal(scores, own_scores[0])
    assert len(watch.threads) == 1
    assert threading.get_ident() not in watch.threads


def test_requests_that_wait_ride_in_one_search_up_to_the_limit(plain, searchers):
    searcher, watch = held(searchers, plain, max_batch=16)
    futures = [searcher.submit(query, 5) for query in vectors_of(40, seed=1)]
    watch.gate.set()
    assert all(len(future.result(30)[0]) == 5 for future in futures)
    assert watch.batches == [1, 16, 16, 8]


def test_a_bad_request_is_refused_at_once_and_spoils_no_batch(plain, searchers):
    searcher, watch = held(searchers, plain)
    good = searcher.submit(vectors_of(1)[0], 5)
    for bad in (
        (np.zeros(7, np.float32), 5, None),
        (vectors_of(1)[0], 0, None),
        (vectors_of(1)[0], 5, np.array([200])),
    ):
        with pytest.raises(InputError):
            searcher.submit(*bad)
    watch.gate.set()
    assert len(good.result(30)[0]) == 5


def test_each_waiting_request_is_searched_in_the_index_that_it_names(plain, searchers):
    searcher, watch = held(searchers, plain)
    query = vectors_of(1, seed=1)[0]
    other = ItemIndex.build(vectors_of(50, seed=2))
    default, named = searcher.submit(query, 5), searcher.submit(query, 5, index=other)
    watch.gate.set()
    assert default.result(30)[0].tolist() == plain.search(query, 5)[0][0].tolist()
    assert named.result(30)[0].tolist() == other.search(query, 5)[0][0].tolist()


def test_a_search_that_raises_is_answered_by_the_cpu_index_and_counted(plain, searchers):
    failing, watch = watched(plain)
    watch.error = RuntimeError("CUDA error 2: out of memory")
    counted: list[RuntimeError] = []
    searcher = BatchingSearcher(
        replace(failing, overflow=plain, engine=replace(failing.engine, max_fetch=2_048)), on_fallback=counted.append
    )
    searchers.append(searcher)
    query = vectors_of(1, seed=1)[0]
    rows, _ = searcher.submit(query, 5, np.array([1])).result(30)
    assert rows.tolist() == plain.search(query, 5, np.array([1]))[0][0].tolist()
    assert [str(error) for error in counted] == ["CUDA error 2: out of memory"]


def test_a_search_that_raises_with_nothing_to_fall_back_on_is_told_to_who_waits(plain, searchers):
    failing, watch = watched(plain)
    watch.error = MemoryError("no room")
    searcher = BatchingSearcher(failing)
    searchers.append(searcher)
    with pytest.raises(MemoryError, match="no room"):
        searcher.submit(vectors_of(1)[0], 5).result(30)
    watch.error = None
    assert len(searcher.submit(vectors_of(1)[0], 5).result(30)[0]) == 5  # the thread lives on


def test_a_request_that_was_cancelled_is_not_searched(plain, searchers):
    searcher, watch = held(searchers, plain)
    cancelled, kept = searcher.submit(vectors_of(1)[0], 5), searcher.submit(vectors_of(1)[0], 5)
    assert cancelled.cancel()
    watch.gate.set()
    kept.result(30)
    assert watch.batches == [1, 1]


def test_closing_answers_what_waits_and_takes_nothing_more(plain, searchers):
    searcher, watch = held(searchers, plain)
    waiting = [searcher.submit(query, 5) for query in vectors_of(9, seed=1)]
    closing = threading.Thread(target=searcher.close)
    closing.start()
    watch.gate.set()
    closing.join(30)
    assert all(future.done() for future in waiting)
    with pytest.raises(RuntimeError, match="the searcher is closed"):
        searcher.submit(vectors_of(1)[0], 5)
    searcher.close()  # twice does no harm


def test_each_replica_is_searched_by_a_thread_of_its_own_at_the_same_time(plain, searchers):
    (first, one), (second, other) = watched(plain), watched(plain)
    searcher = BatchingSearcher(first, replicas=[second], max_batch=1)
    searchers.append(searcher)
    one.gate.clear()
    other.gate.clear()
    futures = [searcher.submit(query, 5) for query in vectors_of(2, seed=1)]
    assert one.entered.wait(30)
    assert other.entered.wait(30)  # while the first has not ended its search
    one.gate.set()
    other.gate.set()
    for future, query in zip(futures, vectors_of(2, seed=1), strict=True):
        assert future.result(30)[0].tolist() == plain.search(query, 5)[0][0].tolist()
    assert len(one.threads) == len(other.threads) == 1
    assert one.threads != other.threads


def test_rows_that_are_hidden_are_hidden_on_every_replica(plain, searchers):
    first, second = watched(plain)[0], watched(plain)[0]
    searcher = BatchingSearcher(first, replicas=[second], max_batch=1)
    searchers.append(searcher)
    hiding = first.with_hidden(np.arange(0, 200, 2))
    futures = [searcher.submit(query, 50, index=hiding) for query in vectors_of(40, seed=1)]
    assert all((future.result(30)[0] % 2 == 1).all() for future in futures)


def test_a_batch_that_gathers_waits_for_requests_up_to_its_limit(plain, searchers):
    watching, watch = watched(plain)
    searcher = BatchingSearcher(watching, max_batch=2, gather_s=30)
    searchers.append(searcher)
    first = searcher.submit(vectors_of(1)[0], 5)
    with pytest.raises(TimeoutError):
        first.result(0.01)
    searcher.submit(vectors_of(1)[0], 5).result(30)
    first.result(30)
    assert watch.batches == [2]


def test_an_index_is_freed_after_its_last_search_and_not_before(searchers):
    index, watch = watched(ItemIndex.build(vectors_of(200)))
    searcher, freed = BatchingSearcher(index), threading.Event()
    weakref.finalize(watch, freed.set)
    watch.gate.clear()
    last = searcher.submit(vectors_of(1)[0], 5)
    assert watch.entered.wait(30)
    gate, closing = watch.gate, threading.Thread(target=searcher.close)
    closing.start()
    del index, watch, searcher
    assert not freed.is_set()
    gate.set()
    assert len(last.result(30)[0]) == 5
    closing.join(30)
    del closing
    assert freed.wait(30)
