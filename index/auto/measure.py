"""Builds and measures one kind of index, by searches as the service makes them.

Users' vectors are searched for one at a time on one thread, what they have seen left out. A search's time is CPU time,
so that a busy machine misleads less.
"""

import time
from dataclasses import dataclass

import numpy as np

from index.auto.choice import Attempt
from index.auto.tune import Measured, measured, tune
from index.engine import using_threads
from index.item_index import ItemIndex, exact_search
from index.kinds import KindOfIndex
from index.manifest import TriedIndex
from index.ranking import Array
from index.recall import MOST_SCORES, count_hits, measured_users
from index.tables import Table

K = 20
LEAST_USERS, MOST_USERS = 32, 256  # to tune settings with: with fewer, no recall is assured
WARM_UP = 8  # searches before those that are timed


def tuning_users(users: Table, n_items: int, seed: int) -> Array:
    """User rows (m,) to tune settings with: drawn among those whose searches do not measure the tuned index's recall.

    Users with a vector of zeros, of whom nothing is known, are left out.
    """
    others = np.setdiff1d(np.arange(len(users)), measured_users(np.arange(len(users)), n_items))
    most = max(LEAST_USERS, min(MOST_USERS, MOST_SCORES // n_items))
    drawn = np.random.default_rng(seed).permutation(others)[: 2 * most]
    known: Array = drawn[np.asarray(users[drawn]).any(axis=1)][:most]
    return known


@dataclass(frozen=True, eq=False)
class Bench:
    """Items (n, d), queries (m, d), what each leaves out, and the scores (m, K) of exact search."""

    vectors: Array
    queries: Array
    seen: list[Array]
    exact: Array

    @classmethod
    def of(cls, vectors: Array, queries: Array, seen: list[Array]) -> "Bench":
        return cls(vectors, queries, seen, exact_search(vectors, queries, min(K, len(vectors)), seen)[1])

    def sample(self, n: int, seed: int) -> "Bench":
        """The same queries over n of the items."""
        rows = np.sort(np.random.default_rng(seed).permutation(len(self.vectors))[:n])
        return Bench.of(self.vectors[rows], self.queries, [np.flatnonzero(np.isin(rows, seen)) for seen in self.seen])

    def attempt(self, kind: KindOfIndex, floor: float, most_ms: float) -> Attempt[ItemIndex]:
        """Build an index and tune its settings; given up where its fastest search takes more than most_ms."""
        start = time.perf_counter()
        index = _build(self.vectors, kind)
        build_s = time.perf_counter() - start
        tuned = tune(kind.settings, lambda settings: self.measure(index.with_settings(settings)), floor, most_ms)
        index = index.with_settings(tuned.settings)
        tried = TriedIndex(
            factory=kind.factory,
            settings=index.settings,
            items=len(self.vectors),
            recall=tuned.measured.recall,
            ms=tuned.measured.ms,
            build_s=build_s,
            bytes_per_item=index.engine.n_bytes / len(self.vectors),
            outcome=tuned.fault,
        )
        return Attempt(tried, index)

    def recall(self, index: ItemIndex) -> float:
        """The recall@K of an index over all queries."""
        _, found = index.search(self.queries, self.exact.shape[1], self.seen)
        hits, possible = count_hits(found, self.exact)
        return hits / possible if possible else 1.0

    def measure(self, index: ItemIndex) -> Measured:
        """Search for each query alone."""
        recalls, seconds = np.empty(len(self.queries)), np.empty(len(self.queries))
        with using_threads(1):
            for query, seen in list(zip(self.queries, self.seen, strict=True))[:WARM_UP]:
                index.search(query, K, seen)
            for i, (query, seen) in enumerate(zip(self.queries, self.seen, strict=True)):
                start = time.thread_time()  # other processes' work does not count
                _, found = index.search(query, self.exact.shape[1], seen)
                seconds[i] = time.thread_time() - start
                hits, possible = count_hits(found, self.exact[i, None])
                recalls[i] = hits / possible if possible else 1.0
        return measured(recalls, seconds)


def _build(vectors: Array, kind: KindOfIndex) -> ItemIndex:
    if "HNSW" in kind.factory:
        with using_threads(1):  # a graph built by several threads differs from run to run
            return ItemIndex.build(vectors, kind.factory)
    return ItemIndex.build(vectors, kind.factory)
