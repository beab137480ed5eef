"""Measures each way to leave rows out of a search, and what ItemIndex chooses, by exclusions and filters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from index.item_index import ItemIndex
from index.ranking import NO_ROWS, Array, best_of, exact_search
from index.search_plan import SPARE
from index.timing import time_each

EXCLUDED = (30, 1_024, 10_000, 100_000)
LEFT = (0.5, 0.01, 0.0001)  # shares of the items
FETCH_MORE, BITMAP, SCORE_ALLOWED, CHOSEN = "fetch more alone", "bitmap", "score allowed", "chosen"
_MOST_SCORED = 0.5  # of the items: beyond, scoring the allowed rows is never the fastest
_TIE = 1e-5  # relative to a score: whole columns of scores are rounded otherwise than pairs

Search = Callable[[int], tuple[Array, Array]]  # rows and scores (1, k) of a query by its number


class FilterCase(NamedTuple):
    """What a search leaves out: each query its own rows, or all queries the same filter."""

    name: str
    excluded: Sequence[Array] | None  # m times (e,) rows
    within: Array | None  # ascending rows


@dataclass(frozen=True)
class FilterSpeed:
    """One line of `python -m index bench-filters`; `results` is the mean number of rows found, of at most k."""

    factory: str
    case: str
    strategy: str
    p50_ms: float
    p99_ms: float
    results: float
    recall: float


def filter_cases(vectors: Array, n_queries: int, rng: np.random.Generator) -> Iterator[FilterCase]:
    """Random exclusions, filters that leave a random share, and filters that leave the items most like one of them."""
    n = len(vectors)
    for count in EXCLUDED:
        if count < n:
            rows = [rng.choice(n, count, replace=False) for _ in range(n_queries)]
            yield FilterCase(f"{count:,} excluded", rows, None)
    for share in LEFT:
        count = max(1, round(share * n))
        yield FilterCase(f"{share:.2%} left, random", None, np.sort(rng.choice(n, count, replace=False)))
        nearest = np.argpartition(-(vectors @ vectors[rng.integers(n)]), count - 1)[:count]
        yield FilterCase(f"{share:.2%} left, category", None, np.sort(nearest))


def measure_filters(
    index: ItemIndex,
    factory: str,
    queries: Array,
    k: int,
    cases: Sequence[FilterCase],
    *,
    others: Callable[[FilterCase], dict[str, Search]] = lambda case: {},
) -> Iterator[FilterSpeed]:
    """Search each query (m, d) alone in each way, for each case, and in `others`. Recall is against exact search."""
    for case in cases:
        allowed = [_allowed(index, case, query) for query in range(len(queries))]
        exact = [_exact(index.vectors, query, k, rows) for query, rows in zip(queries, allowed, strict=True)]
        for strategy, search in (_searches(index, queries, k, case) | others(case)).items():
            yield _measured(search, exact, (factory, case.name, strategy))


def _searches(index: ItemIndex, queries: Array, k: int, case: FilterCase) -> dict[str, Search]:
    def excluded(query: int) -> Array:
        return NO_ROWS if case.excluded is None else case.excluded[query]

    def fetch_more(query: int) -> tuple[Array, Array]:
        mask = _allowed(index, case, query)
        left = max(1, int(np.count_nonzero(mask)))
        fetch = k + SPARE + len(excluded(query)) if case.within is None else (k + SPARE) * len(index) // left
        found, _ = index.engine.search(queries[query, None], min(fetch, len(index)))
        return best_of(found, (found >= 0) & mask[found], index.vectors, queries[query, None], k)

    def bitmap(query: int) -> tuple[Array, Array]:
        found, _ = index.engine.search(queries[query, None], min(k + SPARE, len(index)), _allowed(index, case, query))
        return best_of(found, found >= 0, index.vectors, queries[query, None], k)

    def score(query: int) -> tuple[Array, Array]:
        rows = np.flatnonzero(_allowed(index, case, query))
        return exact_search(index.vectors[rows], queries[query], k)

    def chosen(query: int) -> tuple[Array, Array]:
        return index.search(queries[query], k, excluded(query), case.within)

    searches: dict[str, Search] = {FETCH_MORE: fetch_more}
    if index.engine.takes_selector:
        searches[BITMAP] = bitmap
    if np.count_nonzero(_allowed(index, case, 0)) <= _MOST_SCORED * len(index):
        searches[SCORE_ALLOWED] = score
    return searches | {CHOSEN: chosen}


def _allowed(index: ItemIndex, case: FilterCase, query: int) -> Array:
    mask = np.full(len(index), case.within is None)
    if case.within is not None:
        mask[case.within] = True
    if case.excluded is not None:
        mask[case.excluded[query]] = False
    return mask


def _exact(vectors: Array, query: Array, k: int, allowed: Array) -> tuple[int, float]:
    """How many rows there are to find, at most k, and the score of the last of them."""
    scores = (vectors @ query)[allowed]
    n = min(k, len(scores))
    return n, float(np.partition(scores, len(scores) - n)[len(scores) - n]) if n else np.inf


def _measured(search: Search, exact: list[tuple[int, float]], named: tuple[str, str, str]) -> FilterSpeed:
    results, times = time_each(search, range(len(exact)))
    counts = [int(np.count_nonzero(rows >= 0)) for rows, _ in results]
    hits = [
        np.count_nonzero(scores >= last - _TIE * abs(last)) / n if n else 1.0
        for (_, scores), (n, last) in zip(results, exact, strict=True)
    ]
    return FilterSpeed(*named, *times.p50_p99, float(np.mean(counts)), float(np.mean(hits)))
