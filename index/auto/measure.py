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
from index.recall import MOST_SCORES, PROMISED_AT, measured_users, recall_of
from index.tables import Table
from index.timing import time_each

LEAST_USERS, MOST_USERS = 32, 256  # to tune settings with: with fewer, no recall is assured
WARM_UP = 8  # searches before those that are timed


def tuning_users(users: Table, n_items: int, seed: int) -> Array:
    """User rows (m,) to tune settings with: drawn among those whose searches do not measure the tuned index's recall.

    Users with a vector of zeros, of whom nothing is known, are left out.
    """
    others = np.setdiff1d(np.arange(len(users)), measured_users(len(users), n_items))
    most = max(LEAST_USERS, min(MOST_USERS, MOST_SCORES // n_items))
    drawn = np.random.default_rng(seed).permutation(others)[: 2 * most]
    known: Array = drawn[np.asarray(users[drawn]).any(axis=1)][:most]
    return known


@dataclass(frozen=True, eq=False)
class Bench:
    """Items (n, d), queries (m, d), what each leaves out, and the scores (m, k) of exact search, k = PROMISED_AT."""

    vectors: Array
    queries: Array
    seen: list[Array]
    exact: Array

    @classmethod
    def of(cls, vectors: Array, queries: Array, seen: list[Array]) -> "Bench":
        return cls(vectors, queries, seen, exact_search(vectors, queries, min(PROMISED_AT, len(vectors)), seen)[1])

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
        """The recall@k of an index over all queries."""
        _, found = index.search(self.queries, self.exact.shape[1], self.seen)
        return recall_of(found, self.exact)

    def measure(self, index: ItemIndex) -> Measured:
        """Search for each query alone."""
        k, searches = self.exact.shape[1], list(zip(self.queries, self.seen, strict=True))

        def search(one: tuple[Array, Array]) -> Array:
            query, seen = one
            return index.search(query, k, seen)[1]

        with using_threads(1):
            time_each(search, searches[:WARM_UP])
            found, times = time_each(search, searches)
        pairs = zip(found, self.exact[:, None], strict=True)
        return measured(np.array([recall_of(*pair) for pair in pairs]), times.cpu)


def _build(vectors: Array, kind: KindOfIndex) -> ItemIndex:
    if "HNSW" in kind.factory:
        with using_threads(1):  # a graph built by several threads differs from run to run
            return ItemIndex.build(vectors, kind.factory)
    return ItemIndex.build(vectors, kind.factory)
