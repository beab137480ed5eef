"""Measures kinds of index: build time, memory, latency of one query, recall against exact search.

A measured kind is a file, so that a killed run goes on where it ended.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.benchmarks.kinds_data import BenchData, bytes_available, scan
from index.building import Progress, bytes_of_a_vector
from index.engine import use_threads
from index.flat import FLAT
from index.item_index import ItemIndex
from index.kinds import KindOfIndex
from index.ranking import Array
from index.storage import replace_file
from index.timing import time_each

FLOOR = 0.99  # of recall@20, from which on a kind counts as good enough
_TOO_SLOW = 1.5  # times the exact search: what is slower is not tried with settings that are slower still
_SCANS = 32  # of a table that is too large to be copied
_MARGIN = 1.5  # an index takes more while it grows
_TIE = 1e-5  # relative to a score: a scan's are rounded otherwise than those of pairs


@dataclass(frozen=True)
class KindSpeed:
    """One line of `python -m index bench-kinds`.

    cpu_ms: the median time on a processor, which other work on the machine disturbs least; times_exact: that of exact
    search divided by this one.
    """

    data: str
    items: int
    size: int
    kind: str
    setting: str
    build_s: float
    bytes_per_item: float  # of the index beside the vectors by which results are scored
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    recall: float
    times_exact: float = 1.0


class Wanted(NamedTuple):
    """How to measure: queries, results of each, threads that build, the folder of measured rows, and which kinds.

    No `factories` are all kinds.
    """

    queries: int
    k: int
    threads: int
    rows: Path
    factories: frozenset[str] = frozenset()


class Measured(NamedTuple):
    """One measurement of all kinds: its data, the number of items, their dimensions, and how."""

    data: str
    items: int
    size: int
    wanted: Wanted

    def file(self, kind: KindOfIndex) -> Path:
        """The file that holds the lines of a kind once they are measured."""
        named = repr((self.data, self.wanted[:3], kind))
        return self.wanted.rows / f"{self.items}x{self.size}-{sha256(named.encode()).hexdigest()[:12]}.json"

    def lines(self, kind: KindOfIndex) -> list[KindSpeed] | None:
        """The lines of a kind that this or an earlier run has measured; None where there are none."""
        file = self.file(kind)
        return [KindSpeed(**line) for line in json.loads(file.read_text())] if file.exists() else None


def reason_to_skip(kind: KindOfIndex, n: int, d: int) -> str:
    """Why a kind cannot be built on this machine now; empty where it can."""
    need, there = _MARGIN * n * bytes_of_a_vector(kind.factory, d), bytes_available()
    if kind.factory == FLAT or need <= there:
        return ""
    return f"{n:,} x {d}: {kind.factory} needs about {need / 1e9:.1f} GB; {there / 1e9:.1f} GB are free"


def measure_kind(
    what: Measured, kind: KindOfIndex, data: BenchData, exact_cpu_ms: float = np.inf, tell: Progress | None = None
) -> list[KindSpeed]:
    """Build an index, search with one thread by each of its settings, and write the lines into their file.

    Settings that find everything, or are slower than exact search, are not followed by slower ones.
    """
    lines = []
    for line in _scanned(what, data) if _is_too_large(kind, data) else _searched(what, kind, data, tell):
        lines.append(line)
        if line.recall == 1 or line.cpu_ms > _TOO_SLOW * exact_cpu_ms:
            break
    what.wanted.rows.mkdir(parents=True, exist_ok=True)
    replace_file(what.file(kind), json.dumps([asdict(line) for line in lines]).encode())
    return lines


def with_ratios(lines: Sequence[KindSpeed]) -> list[KindSpeed]:
    """The lines with `times_exact`; those of the exact search must be among them."""
    exact = {_size(line): line.cpu_ms for line in lines if line.kind == FLAT}
    return [replace(line, times_exact=exact[_size(line)] / line.cpu_ms) for line in lines]


def fastest(lines: Sequence[KindSpeed], *, floor: float = FLOOR) -> list[KindSpeed]:
    """The fastest line with at least this recall, for each data, number of items and dimensions."""
    best: dict[tuple[str, int, int], KindSpeed] = {}
    for line in lines:
        if line.recall >= floor and (_size(line) not in best or line.cpu_ms < best[_size(line)].cpu_ms):
            best[_size(line)] = line
    return list(best.values())


def _size(line: KindSpeed) -> tuple[str, int, int]:
    return line.data, line.items, line.size


def _is_too_large(kind: KindOfIndex, data: BenchData) -> bool:
    return kind.factory == FLAT and 2 * data.vectors.nbytes > bytes_available()


def _searched(what: Measured, kind: KindOfIndex, data: BenchData, tell: Progress | None) -> Iterator[KindSpeed]:
    use_threads(what.wanted.threads)
    start = time.perf_counter()
    index = ItemIndex.build(data.vectors, kind.factory, progress=tell)
    build_s = time.perf_counter() - start
    use_threads(1)  # as the service searches
    line = replace(_empty(what, kind.factory), build_s=build_s, bytes_per_item=index.engine.n_bytes / what.items)
    for settings in kind.settings:
        tried = index.with_settings(settings)
        setting = ", ".join(f"{name} {value}" for name, value in settings.items())
        yield _timed(replace(line, setting=setting), data, partial(_search, tried, data, what.wanted.k))


def _scanned(what: Measured, data: BenchData) -> Iterator[KindSpeed]:
    few = data._replace(queries=data.queries[:_SCANS], seen=data.seen[:_SCANS], exact=data.exact[:_SCANS])
    yield _timed(replace(_empty(what, FLAT), setting="not copied"), few, scan(few, what.wanted.k))


def _empty(what: Measured, factory: str) -> KindSpeed:
    return KindSpeed(what.data, what.items, what.size, factory, "", 0, 0, 0, 0, 0, 0)


def _search(index: ItemIndex, data: BenchData, k: int, query: int) -> Array:
    return index.search(data.queries[query], k, data.seen[query])[1]


def _timed(line: KindSpeed, data: BenchData, search: Callable[[int], Array]) -> KindSpeed:
    search(0)  # what is read or made at the first search
    found, times = time_each(search, range(len(data.queries)))
    last = data.exact[:, -1:]
    hits = np.concatenate(found) >= last - _TIE * np.abs(last)
    p50, p99 = times.p50_p99
    return replace(line, p50_ms=p50, p99_ms=p99, cpu_ms=float(np.median(times.cpu)), recall=float(np.mean(hits)))
