"""Measures searches beside a delta of some size, changes, and compaction."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.ids import IdTable
from index.item_index import ItemIndex
from index.live.live_index import DeltaLimits, LiveIndex
from index.ranking import Array, exact_search
from index.recall import recall_of
from index.timing import time_each

SHARES = (0.0, 0.01, 0.1)
_UNBOUNDED = DeltaLimits(2**62, 2**62, 2**62)
_N_CHANGES = 50  # single changes that are timed
_AT_ONCE = 1_000


@dataclass(frozen=True)
class DeltaSpeed:
    """One line of `python -m index bench-delta`; the delta's items are new by half and replaced by half."""

    factory: str
    delta: str
    p50_ms: float
    p99_ms: float
    recall: float
    change_p50_ms: float
    compaction_s: float


def measure_delta(
    vectors: Array, queries: Array, factory: str, k: int, build: Callable[[Array], ItemIndex]
) -> Iterator[DeltaSpeed]:
    """Search each query (m, d) alone beside a delta of each share of the items (n, d), kept in a temporary folder."""
    main, ids = build(vectors), IdTable.build([f"i{row}" for row in range(len(vectors))])
    for share in SHARES:
        with tempfile.TemporaryDirectory() as folder:
            live = LiveIndex(Path(folder), main, ids, "bench", build=build, limits=_UNBOUNDED)
            items = _fill(live, vectors, round(share * len(vectors)))
            p50, p99, recall = _search(live, items, queries, k)
            change_ms = _change_ms(live, vectors)
            start = time.perf_counter()
            live.compact()
            seconds = time.perf_counter() - start
            live.close()
        yield DeltaSpeed(factory, f"{share:.0%}", p50, p99, recall, change_ms, seconds)


def _fill(live: LiveIndex, vectors: Array, n: int) -> Array:
    """Put n items, mixtures of two that are there, and return all vectors by row."""
    rng = np.random.default_rng(n)
    mixed = (vectors[rng.integers(len(vectors), size=n)] + vectors[rng.integers(len(vectors), size=n)]) / 2
    replaced = rng.choice(len(vectors), n // 2, replace=False)
    names = [f"i{row}" for row in replaced] + [f"new{i}" for i in range(n - n // 2)]
    items = np.concatenate([vectors, np.empty((n - n // 2, vectors.shape[1]), np.float32)])
    for start in range(0, n, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        items[live.change(dict(zip(names[part], mixed[part], strict=True)))] = mixed[part]
    return items


def _search(live: LiveIndex, items: Array, queries: Array, k: int) -> tuple[float, float, float]:
    _, exact = exact_search(items, queries, k)
    snapshot = live.snapshot
    found, times = time_each(lambda query: snapshot.search(query, k)[1][0], queries)
    return *times.p50_p99, recall_of(np.array(found), exact)


def _change_ms(live: LiveIndex, vectors: Array) -> float:
    _, times = time_each(lambda i: live.change({f"timed{i}": vectors[i]}), range(_N_CHANGES))
    return float(np.median(times.wall))
