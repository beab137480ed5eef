"""What kinds of index are measured on: vectors in a file, queries, what each leaves out, and the exact results."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.benchmarks.clustered_vectors import clustered_vectors
from index.bundle import Bundle
from index.ranking import Array, best_of
from index.storage import atomic_writer

_SPARE = 16  # candidates beyond k, as whole blocks of scores are rounded otherwise than pairs
_CHUNK = 65_536
MEMINFO = Path("/proc/meminfo")


class BenchData(NamedTuple):
    """Vectors (n, d), queries (m, d), the rows that each leaves out, and the exact scores (m, k) of the others."""

    name: str
    vectors: Array
    queries: Array
    seen: Sequence[Array]
    exact: Array


def generated_data(n: int, d: int, k: int, n_queries: int, folder: Path) -> BenchData:
    """Generated vectors in a file in `folder`, and what belongs to them; of an earlier run where that left them."""
    rest, file = _files(n, d, k, n_queries, folder)
    if not rest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        vectors = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n, d))
        _, queries, seen = clustered_vectors(n, d, n_queries=n_queries, out=vectors)
        exact = exact_scores(vectors, queries, k, list(seen))
        with atomic_writer(rest) as whole:
            np.savez(whole, queries=queries, seen=seen, exact=exact)
    known = np.load(rest)
    return BenchData("generated", np.load(file, mmap_mode="r"), known["queries"], list(known["seen"]), known["exact"])


def remove_generated(n: int, d: int, k: int, n_queries: int, folder: Path) -> None:
    """Remove the files of generated vectors."""
    for file in _files(n, d, k, n_queries, folder):
        file.unlink(missing_ok=True)


def _files(n: int, d: int, k: int, n_queries: int, folder: Path) -> tuple[Path, Path]:
    """The file that is there once all is whole, and the vectors."""
    return folder / f"data-{n}x{d}-{n_queries}-{k}.npz", folder / f"vectors-{n}x{d}.npy"


def bundle_data(bundle: Bundle, k: int, n_queries: int) -> BenchData:
    """A trained bundle's items; its queries are users, evenly spaced, each without the items that it has seen."""
    users = np.linspace(0, len(bundle.user_ids) - 1, min(n_queries, len(bundle.user_ids))).astype(np.int64)
    vectors, seen = bundle.item_embeddings, [bundle.seen(user) for user in users.tolist()]
    queries = bundle.user_embeddings[users]
    return BenchData(bundle.bundle_id, vectors, queries, seen, exact_scores(vectors, queries, k, seen))


def exact_scores(vectors: Array, queries: Array, k: int, seen: Sequence[Array]) -> Array:
    """The k best scores (m, k) of each query without what it has seen; the vectors are read once, in chunks."""
    m, keep = len(queries), min(k + _SPARE, len(vectors))
    rows, scores = np.zeros((m, keep), np.int64), np.full((m, keep), -np.inf, np.float32)
    for start in range(0, len(vectors), _CHUNK):
        block = queries @ vectors[start : start + _CHUNK].T  # (m, c)
        for i, left_out in enumerate(seen):
            block[i, left_out[(left_out >= start) & (left_out < start + block.shape[1])] - start] = -np.inf
            better = np.flatnonzero(block[i] > scores[i, -1])
            together = np.concatenate([scores[i], block[i, better]])
            best = np.argsort(-together, kind="stable")[:keep]
            rows[i] = np.concatenate([rows[i], better + start])[best]
            scores[i] = together[best]
    return best_of(rows, scores > -np.inf, vectors, queries, k)[1]


def bytes_available(meminfo: Path = MEMINFO) -> float:
    """Memory that a program may take without swapping; unbounded where the system does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return np.inf


def scan(data: BenchData, k: int) -> Callable[[int], Array]:
    """Exact search over mapped vectors, for a table that is too large to be copied into an index."""

    def scores(query: int) -> Array:
        found = data.vectors @ data.queries[query]
        found[data.seen[query]] = -np.inf
        return np.sort(np.partition(found, len(found) - k)[len(found) - k :])[::-1][None]

    return scores
