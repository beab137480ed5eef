"""Measures latency, throughput and recall of an index by the number of rows that each query excludes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.item_index import ItemIndex, exact_search
from index.ranking import Exclude

Array = np.ndarray[Any, Any]
BATCH = 64


@dataclass(frozen=True)
class SearchSpeed:
    """One row of `python -m index bench`. Latency is of single queries; recall is against exact search."""

    factory: str
    n_excluded: int
    queries_per_second: float
    p50_ms: float
    p99_ms: float
    batched_queries_per_second: float
    recall: float


def measure_search(
    index: ItemIndex, factory: str, queries: Array, *, k: int, excluded_counts: Sequence[int], rng: np.random.Generator
) -> Iterator[SearchSpeed]:
    """Search every query (m, d) alone and in batches of 64, for each count of randomly excluded rows."""
    for n_excluded in excluded_counts:
        exclude = [rng.choice(len(index), n_excluded, replace=False) for _ in queries]
        one_by_one = [(queries[i], exclude[i]) for i in range(len(queries))]
        latencies = np.array([_seconds(index, query, k, rows) for query, rows in one_by_one])
        batches = [slice(start, start + BATCH) for start in range(0, len(queries), BATCH)]
        batched = sum(_seconds(index, queries[batch], k, exclude[batch]) for batch in batches)
        yield SearchSpeed(
            factory=factory,
            n_excluded=n_excluded,
            queries_per_second=float(1 / latencies.mean()),
            p50_ms=float(np.percentile(latencies, 50) * 1e3),
            p99_ms=float(np.percentile(latencies, 99) * 1e3),
            batched_queries_per_second=len(queries) / batched,
            recall=_recall(index, queries, k, exclude),
        )


def _seconds(index: ItemIndex, queries: Array, k: int, exclude: Exclude) -> float:
    start = time.perf_counter()
    index.search(queries, k, exclude)
    return time.perf_counter() - start


def _recall(index: ItemIndex, queries: Array, k: int, exclude: list[Array]) -> float:
    _, exact = exact_search(index.vectors, queries, k, exclude)
    _, found = index.search(queries, k, exclude)
    return float(np.mean(found >= exact[:, -1:]))
