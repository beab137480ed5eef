"""Measures kinds of index on generated vectors: build time, memory, latency of one query, recall against exact search.

A measured row is a file, so that a killed run goes on where it ended.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from index.clustered_vectors import ClusteredVectors
from index.engine import use_threads
from index.item_index import ItemIndex
from index.kinds import EXACT, KindOfIndex
from index.ranking import exact_search
from index.storage import replace_file

FLOOR = 0.99  # of recall@20, from which on a kind counts as good enough
SAMPLE = 256  # queries whose exact results are known


@dataclass(frozen=True)
class KindSpeed:
    """One line of `python -m index bench-kinds`; `times_exact` is the exact search's median divided by this one."""

    items: int
    size: int
    kind: str
    setting: str
    build_s: float
    bytes_per_item: float  # of the index beside the vectors by which results are scored
    p50_ms: float
    p99_ms: float
    recall: float
    times_exact: float = 1.0


def measure_kind(kind: KindOfIndex, data: ClusteredVectors, k: int, *, threads: int, rows: Path) -> list[KindSpeed]:
    """Build an index with so many threads and search with one, by each of its settings; `rows` caches the lines."""
    n, d = data.vectors.shape
    named = repr((n, d, len(data.queries), k, threads, kind))
    file = rows / f"{n}x{d}-{sha256(named.encode()).hexdigest()[:12]}.json"
    if file.exists():
        return [KindSpeed(**line) for line in json.loads(file.read_text())]
    lines = list(_measured(kind, data, k, threads))
    rows.mkdir(parents=True, exist_ok=True)
    replace_file(file, json.dumps([asdict(line) for line in lines]).encode())
    return lines


def with_ratios(lines: Sequence[KindSpeed]) -> list[KindSpeed]:
    """The lines with `times_exact`; those of the exact search must be among them."""
    exact = {(line.items, line.size): line.p50_ms for line in lines if line.kind == EXACT}
    return [replace(line, times_exact=exact[line.items, line.size] / line.p50_ms) for line in lines]


def fastest(lines: Sequence[KindSpeed], *, floor: float = FLOOR) -> list[KindSpeed]:
    """The fastest line with at least this recall, for each number of items and dimensions."""
    best: dict[tuple[int, int], KindSpeed] = {}
    for line in lines:
        size = (line.items, line.size)
        if line.recall >= floor and (size not in best or line.p50_ms < best[size].p50_ms):
            best[size] = line
    return list(best.values())


def _measured(kind: KindOfIndex, data: ClusteredVectors, k: int, threads: int) -> Iterator[KindSpeed]:
    use_threads(threads)
    start = time.perf_counter()
    index = ItemIndex.build(data.vectors, kind.factory)
    build_s = time.perf_counter() - start
    use_threads(1)  # as the service searches
    sampled = data.queries[:SAMPLE]
    seen = list(data.seen[:SAMPLE])
    _, exact = exact_search(data.vectors, sampled, k, seen)
    for settings in kind.settings:
        index = index.with_settings(settings)
        seconds, hits = [], []
        for query, left_out, scores in zip(sampled, seen, exact, strict=True):
            start = time.perf_counter()
            _, found = index.search(query, k, left_out)
            seconds.append(time.perf_counter() - start)
            hits.append(float(np.mean(found[0] >= scores[-1])))
        p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
        yield KindSpeed(
            items=len(data.vectors),
            size=data.vectors.shape[1],
            kind=kind.factory,
            setting=", ".join(f"{name} {value}" for name, value in settings.items()),
            build_s=build_s,
            bytes_per_item=index.engine.n_bytes / len(data.vectors),
            p50_ms=float(p50),
            p99_ms=float(p99),
            recall=float(np.mean(hits)),
        )
