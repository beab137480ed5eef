"""Measures latency, throughput and recall of an index by the number of rows that each query excludes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from index.item_index import ItemIndex, exact_search
from index.recall import recall_of
from index.timing import time_each

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
        one_by_one = list(zip(queries, exclude, strict=True))
        _, single = time_each(lambda case: index.search(case[0], k, case[1]), one_by_one)
        batches = [slice(start, start + BATCH) for start in range(0, len(queries), BATCH)]
        _, batched = time_each(lambda case: index.search(*case), [(queries[b], k, exclude[b]) for b in batches])
        p50, p99 = single.p50_p99
        yield SearchSpeed(
            factory=factory,
            n_excluded=n_excluded,
            queries_per_second=float(1e3 / single.wall.mean()),
            p50_ms=p50,
            p99_ms=p99,
            batched_queries_per_second=float(1e3 * len(queries) / batched.wall.sum()),
            recall=_recall(index, queries, k, exclude),
        )


def benchmark_table(lines: Sequence[SearchSpeed], k: int) -> Table:
    """Speed and recall, a row for each factory and number of excluded rows."""
    table = Table(title=f"top {k}, single queries and batches of 64", title_justify="left")
    table.add_column("factory", overflow="fold", no_wrap=True)
    for name in ("excluded", "queries/s", "p50 ms", "p99 ms", "batched queries/s", f"recall@{k}"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.factory,
            f"{line.n_excluded:,}",
            f"{line.queries_per_second:,.0f}",
            f"{line.p50_ms:.3f}",
            f"{line.p99_ms:.3f}",
            f"{line.batched_queries_per_second:,.0f}",
            f"{line.recall:.4f}",
        )
    return table


def _recall(index: ItemIndex, queries: Array, k: int, exclude: list[Array]) -> float:
    _, exact = exact_search(index.vectors, queries, k, exclude)
    _, found = index.search(queries, k, exclude)
    return recall_of(found, exact)
