"""Index files changed at random, as by one who also corrects the sums: what passes the probe, any search survives.

`make fuzz` runs thousands.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from index.probing.probe import limit_process, probe

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "80"))
FACTORIES = (
    "Flat", "SQ8", "PQ2x4", "PQ4x4fs", "RaBitQ", "RaBitQfs", "IVF8,Flat", "IVF8,SQ8", "IVF8,PQ2x4", "IVF8,PQ4x4fs",
    "IVF8,RaBitQ", "IVF8,RaBitQfs", "HNSW8", "HNSW8,SQ8", "NSG8,Flat", "PCA8,IVF8,Flat", "RR16,PQ2x4",
    "IVF8,Flat,RFlat", "PQ4x4fs,RFlat", "IVF8_HNSW8,Flat",
)  # fmt: skip
N, D = 300, 16
MOST_S = 30
SIZES = (0, 1, 2, N - 1, N, N + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)

Change = Callable[[random.Random, bytearray], None]


def flip(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_in_the_header(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(min(160, len(data)))] ^= 1 << rng.randrange(8)


def another_size(rng: random.Random, data: bytearray) -> None:
    """Where a size is likely: a small number that eight bytes hold."""
    places = [at for at in range(len(data) - 8) if data[at] and not any(data[at + 3 : at + 8])]
    at = rng.choice(places or [0])
    size = int.from_bytes(data[at : at + 8], "little")
    other = rng.choice([*SIZES, size + 1, max(0, size - 1), 2 * size])
    data[at : at + 8] = (other % 2**64).to_bytes(8, "little")


def another_number(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) - 4)
    data[at : at + 4] = (rng.choice(SIZES) % 2**32).to_bytes(4, "little")


def garble(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    data[start : start + 32] = rng.randbytes(len(data[start : start + 32]))


def truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


CHANGES: tuple[Change, ...] = (flip, flip_in_the_header, another_size, another_size, another_number, garble, truncate)


def index_file(path: Path, factory: str) -> Path:
    vectors = np.random.default_rng(5).standard_normal((N, D), np.float32)
    index = faiss.index_factory(D, factory, faiss.METRIC_INNER_PRODUCT)
    faiss.omp_set_num_threads(1)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(path))
    return path


def ended(work: Callable[[], None]) -> int:
    """The exit status of a fork that does the work: 1 where it raises, negative where a signal ends it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            signal.alarm(MOST_S)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def probed(path: Path) -> None:
    limit_process(path, N)
    probe(path, N)


def searched(path: Path) -> None:
    """Searches of every length and effort, far more than the probe's, as a service that has the file mapped."""
    index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    rng = np.random.default_rng(7)
    for scale in (1e-20, 1.0, 1e20):
        queries = (scale * rng.standard_normal((40, D))).astype(np.float32)
        for k in (1, 20, N):
            found = index.search(queries, k)[1]
            assert found.min() >= -1
            assert found.max() < N


def outcomes(folder: Path, factory: str, n: int, rng: random.Random) -> Counter[str]:
    sound = index_file(folder / "item.faiss", factory).read_bytes()
    counts: Counter[str] = Counter()
    changed = folder / "changed.faiss"
    for _ in range(n):
        data, change = bytearray(sound), rng.choice(CHANGES)
        change(rng, data)
        changed.write_bytes(data)
        status = ended(lambda: probed(changed))
        if status:
            counts["refused" if status > 0 else "ended the probe"] += 1
            continue
        status = ended(lambda: searched(changed))
        counts["searched" if status == 0 else f"CRASH {status} after {change.__name__}"] += 1
        if status and (kept := os.environ.get("FUZZ_KEEP")):
            (Path(kept) / f"{factory.replace(',', '-')}-{sum(counts.values())}.faiss").write_bytes(data)
    return counts


@pytest.mark.parametrize("factory", FACTORIES)
def test_any_search_survives_a_file_that_passed_the_probe(tmp_path: Path, factory: str):
    n = EXAMPLES // len(FACTORIES)
    found = outcomes(tmp_path, factory, n, random.Random(factory))
    print(factory, dict(found))
    assert set(found) <= {"refused", "ended the probe", "searched"}, found
    assert sum(found.values()) == n
