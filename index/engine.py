"""Wrapper of one FAISS index: build, read, write, search. No other module handles FAISS's D, I and parameters."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.errors import InputError

Array = np.ndarray[Any, Any]

faiss: Any = faiss_with_stubs  # its stubs lack half of what it has

DEFAULT_EF_SEARCH = 64
# From so many queries on, a search is one matrix product; FAISS's own threshold is in the hundreds. Measured on one
# thread, 20,000 vectors of 64, microseconds a query without and with BLAS: one query 105 and 380, four 105 and 105,
# eight 105 and 77, sixteen 105 and 68.
BLAS_FROM = 5
ALWAYS, NEVER = 0, 2**31 - 1  # FAISS's threshold counts queries, in newer versions queries times dimensions
PROBED_SHARE = 8  # by default one list in eight is probed; FAISS's own default of one list gives a low recall


@dataclass(frozen=True, eq=False)
class Engine:
    """A FAISS inner-product index and its capabilities.

    exact: it scores by the full vectors, so its last score bounds the rows that it did not return.
    exhaustive: it scores every vector.
    plain: a flat index that skips no vector, which index/block_scan.py searches faster.
    takes_selector: the search can be restricted to allowed rows.
    one_at_a_time: the probed lists could depend on the other queries of a call, so queries are searched singly.
    max_fetch: the longest list that one search gives (GPU: 2,048), 0 where there is no limit.
    device: "cpu" or "gpu:0"; resources: objects that must live as long as a GPU index.
    """

    index: Any
    exact: bool
    exhaustive: bool
    takes_selector: bool
    one_at_a_time: bool = False
    plain: bool = False
    max_fetch: int = 0
    device: str = "cpu"
    resources: Any = None

    def search(self, queries: Array, n: int, allowed: Array | None = None, effort: float = 1.0) -> tuple[Array, Array]:
        """Rows (m, n) int64, -1 where there are fewer, and scores (m, n); `allowed` is a mask over all rows.

        `effort` multiplies nprobe and ef_search.
        """
        # The selector must outlive the call, so it has a name here.
        selector = None if allowed is None else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.one_at_a_time and len(queries) > 1:
            found = [self._search(query[None], n, selector, effort) for query in queries]
            return np.concatenate([rows for rows, _ in found]), np.concatenate([scores for _, scores in found])
        return self._search(queries, n, selector, effort)

    def _search(self, queries: Array, n: int, selector: Any, effort: float) -> tuple[Array, Array]:
        parameters = None if selector is None and effort == 1 else _parameters(self.index, selector, effort)
        # Process-wide: another thread's search between these lines may be slower, but stays correct.
        faiss.cvar.distance_compute_blas_threshold = ALWAYS if len(queries) >= BLAS_FROM else NEVER
        D, I = self.index.search(queries, n, params=parameters)  # noqa: E741
        return I, D

    @property
    def settings(self) -> dict[str, int]:
        """The search settings: nprobe or ef_search; empty for a flat index."""
        if isinstance(self.index, faiss.IndexIVF):
            return {"nprobe": int(self.index.nprobe)}
        if isinstance(self.index, faiss.IndexHNSW):
            return {"ef_search": int(self.index.hnsw.efSearch)}
        return {}

    def set_search(self, *, nprobe: int | None = None, ef_search: int | None = None) -> None:
        """Change the search settings, of which None is the default; InputError below 1. No search may run meanwhile."""
        _set_search(self.index, nprobe, ef_search)

    @property
    def n_bytes(self) -> int:
        """The size of the index as a file."""
        sizes: list[int] = []
        faiss.write_index(self.index, faiss.PyCallbackIOWriter(lambda data: sizes.append(len(data))))
        return sum(sizes)


def use_threads(n: int) -> None:
    """Set FAISS's number of threads for the whole process; called once, at the process's entry point."""
    faiss.omp_set_num_threads(n)


def engine_of(index: Any) -> Engine:
    """Wrap a FAISS index with the capabilities of its class."""
    full_vectors = (faiss.IndexFlat, faiss.IndexIVFFlat, faiss.IndexHNSWFlat)
    selectable = (faiss.IndexFlat, faiss.IndexIVF, faiss.IndexHNSW, faiss.IndexScalarQuantizer)
    return Engine(
        index=index,
        exact=isinstance(index, full_vectors),
        exhaustive=isinstance(index, faiss.IndexFlat),
        takes_selector=isinstance(index, selectable),
        one_at_a_time=isinstance(index, faiss.IndexIVF),
        plain=type(index) in (faiss.IndexFlat, faiss.IndexFlatIP),  # a Panorama index is flat too
    )


def build_engine(vectors: Array, factory: str, nprobe: int | None, ef_search: int | None) -> Engine:
    """Train and fill an index by its FAISS factory string; InputError where FAISS refuses that."""
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
    except RuntimeError as error:
        size = f"{vectors.shape[0]} vectors of {vectors.shape[1]}"
        raise InputError(f"index factory {factory!r} does not fit {size}: {_reason(error)}") from error
    engine = engine_of(index)
    _set_search(engine.index, nprobe, ef_search)
    return engine


def read_engine(path: Path, *, mapped: bool = True) -> Engine:
    """Open an index file, memory-mapped where FAISS can; InputError where it is truncated or not an index."""
    try:
        return engine_of(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0))
    except Exception as error:  # its readers raise more than it documents
        raise InputError(f"{path} is no readable FAISS index: {_reason(error)}") from error


def write_engine(engine: Engine, path: Path) -> None:
    """Write the index into a new file. OSError where writing fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through Python's file: FAISS's own writer ignores errors at close, such as a full disk.
    with path.open("xb") as file:
        faiss.write_index(engine.index, faiss.PyCallbackIOWriter(file.write))


def stored_vectors(engine: Engine) -> Array:
    """The vectors of the index, (n, d) float32: shared memory for a flat index, else a copy, as lossy as the index."""
    index = engine.index
    if isinstance(index, faiss.IndexFlat):
        flat: Array = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        return flat.reshape(index.ntotal, index.d)
    copied: Array = index.reconstruct_n(0, index.ntotal)
    return copied


def _set_search(index: Any, nprobe: int | None, ef_search: int | None) -> None:
    for name, value in (("nprobe", nprobe), ("ef_search", ef_search)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; expected at least 1")
    if isinstance(index, faiss.IndexIVF):
        index.nprobe = min(nprobe or -(-index.nlist // PROBED_SHARE), index.nlist)
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = ef_search or DEFAULT_EF_SEARCH


def _parameters(index: Any, selector: Any, effort: float) -> Any:
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(ceil(effort * index.nprobe), index.nlist))
    if isinstance(index, faiss.IndexHNSW):
        ef_search = min(ceil(effort * index.hnsw.efSearch), index.ntotal)
        return faiss.SearchParametersHNSW(sel=selector, efSearch=ef_search)
    return faiss.SearchParameters(sel=selector)


def _reason(error: Exception) -> str:
    """FAISS's message without its C++ signature."""
    return str(error).rpartition(": ")[2].strip() or type(error).__name__
