"""`python -m index.probing.probe FILE N SHA256`: opens and searches an index file of others in a process of its own.

FAISS trusts what it reads: a crafted file may end the process that opens or searches it, or take all memory. So a
reader that did not write the file lets this process try it first (probed_indexes.py). Exit status 0: FILE has that sum
and is an index of N vectors, all that it refers to exists (index_structure.py), and searches of it give its rows.
"""

import resource
import sys
from pathlib import Path
from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.errors import InputError
from index.probing.index_structure import check_structure
from index.storage import sha256_of

Array = np.ndarray[Any, Any]

faiss: Any = faiss_with_stubs  # its stubs lack half of what it has

REFUSED, OUT_OF_MEMORY = 2, 3  # exit statuses
SPARE_BYTES = 512 << 20  # beyond what the process has before it opens the file
SIZES_OF_FILE = 3  # in memory: mapped, copied where FAISS maps nothing, and written once to measure it
BYTES_A_VECTOR = 64  # for tables of visited rows and the like
SPARE_S, BYTES_A_SECOND = 30, 50_000_000
QUERIES, K = 4, 100


def cpu_seconds(n_bytes: int) -> int:
    """The most CPU time that the probe of a file of this size may take."""
    return SPARE_S + n_bytes // BYTES_A_SECOND


def probe(path: Path, n: int) -> None:
    """InputError, or whatever FAISS raises, where the file is no sound index of n vectors. Takes this process's limits.

    `limit_process` must have been called, since this may also end the process.
    """
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    check_structure(index, n)
    queries = np.random.default_rng(0).standard_normal((QUERIES, index.d), np.float32)
    queries[0] = 0
    _check_search(index, queries, n)  # as the file says
    _search_widely(index)
    _check_search(index, queries[:2], n)


def limit_process(path: Path, n: int) -> None:
    """Limit memory and CPU time of this process by the size of the file, and write no core dumps."""
    n_bytes = path.stat().st_size
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    most = used + SPARE_BYTES + SIZES_OF_FILE * n_bytes + BYTES_A_VECTOR * n
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds(n_bytes), cpu_seconds(n_bytes) + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _check_search(index: Any, queries: Array, n: int) -> None:
    _, rows = index.search(queries, min(K, n))
    if rows.min() < -1 or rows.max() >= n:
        raise InputError(f"its search gives rows {rows.min()}..{rows.max()}; expected rows of {n} vectors")


def _search_widely(index: Any) -> None:
    """Set the index to search all that it has."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        _search_widely(index.index)
    elif isinstance(index, faiss.IndexRefine):
        _search_widely(index.base_index)
    elif isinstance(index, faiss.IndexIVF):
        index.nprobe = index.nlist


def main() -> None:
    """Probe the file that the command line names."""
    path, n, expected = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    faiss.omp_set_num_threads(1)
    limit_process(path, n)
    try:
        if (found := sha256_of(path)) != expected:
            raise InputError(f"it has sha256 {found}; expected {expected}")
        probe(path, n)
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    except Exception as error:  # the edge of this process, and FAISS raises more than it documents
        print(str(error).rpartition(": ")[2] if isinstance(error, RuntimeError) else error, file=sys.stderr)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
