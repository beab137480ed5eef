"""Wrapper of one FAISS index: build, read, write, search. No other module handles FAISS's D, I and parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, isqrt
from pathlib import Path
from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.building import Progress, build_index
from index.errors import InputError
from index.ranking import unit_rows

Array = np.ndarray[Any, Any]

faiss: Any = faiss_with_stubs  # its stubs lack half of what it has

DEFAULT_EF_SEARCH = 64
# From so many queries on, a search is one matrix product; FAISS's own threshold is in the hundreds. Measured on one
# thread, 20,000 vectors of 64, microseconds a query without and with BLAS: one query 105 and 380, four 105 and 105,
# eight 105 and 77, sixteen 105 and 68.
BLAS_FROM = 5
ALWAYS, NEVER = 0, 2**31 - 1  # FAISS's threshold counts queries, in newer versions queries times dimensions
# Lists probed by default, in roots of their number: .99 takes one root of a million generated items, eight of 18,357
# trained ones (docs/measurements/search.md). An index that is chosen by measurement has its own number.
PROBED_ROOTS = 4
DEFAULT_RERANK = 16  # for codes of a few bits a dimension
_MOST = 1_000_000  # candidates or lists of a search: they take memory, and a bundle of others may say how many
SETTINGS = ("nprobe", "ef_search", "rerank")


@dataclass(frozen=True, eq=False)
class Engine:
    """A FAISS inner-product index and its capabilities.

    exact: it scores by the full vectors, so its last score bounds the rows that it did not return.
    exhaustive: it scores every vector.
    plain: a flat index that skips no vector, which index/block_scan.py searches faster.
    takes_selector: the search can be restricted to allowed rows.
    one_at_a_time: a result could depend on the other queries of a call, so queries are searched singly.
    unit_queries: its lists are probed by a score that holds for queries of length 1, which is how FAISS gets them.
    rerank: how many times as many candidates as results are fetched, to be scored again by the full vectors.
    max_fetch: the longest list that one search gives (GPU: 2,048), 0 where there is no limit.
    device: "cpu" or "gpu:0"; resources: objects that must live as long as a GPU index.
    """

    index: Any
    exact: bool
    exhaustive: bool
    takes_selector: bool
    one_at_a_time: bool = False
    plain: bool = False
    unit_queries: bool = False
    rerank: int = 1
    max_fetch: int = 0
    device: str = "cpu"
    resources: Any = None

    def search(self, queries: Array, n: int, allowed: Array | None = None, effort: float = 1.0) -> tuple[Array, Array]:
        """Rows (m, n) int64, -1 where there are fewer, and scores (m, n); `allowed` is a mask over all rows.

        `effort` multiplies nprobe and ef_search. `allowed` only where the engine takes a selector.
        """
        if self.unit_queries:
            lengths = np.linalg.norm(queries, axis=1, keepdims=True)  # (m, 1)
            rows, scores = self._singly_or_together(unit_rows(queries), n, allowed, effort)
            with np.errstate(over="ignore"):  # the score of a row that is missing is the lowest number
                return rows, scores * lengths
        return self._singly_or_together(queries, n, allowed, effort)

    def _singly_or_together(self, queries: Array, n: int, allowed: Array | None, effort: float) -> tuple[Array, Array]:
        # The selector must outlive the call, so it has a name here.
        selector = None if allowed is None else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.one_at_a_time and len(queries) > 1:
            found = [self._search(query[None], n, selector, effort) for query in queries]
            return np.concatenate([rows for rows, _ in found]), np.concatenate([scores for _, scores in found])
        return self._search(queries, n, selector, effort)

    def _search(self, queries: Array, n: int, selector: Any, effort: float) -> tuple[Array, Array]:
        parameters = None if selector is None and effort == 1 else _parameters(_inner(self.index), selector, effort)
        # Process-wide: another thread's search between these lines may be slower, but stays correct.
        faiss.cvar.distance_compute_blas_threshold = ALWAYS if len(queries) >= BLAS_FROM else NEVER
        D, I = self.index.search(queries, n, params=parameters)  # noqa: E741
        return I, D

    @property
    def settings(self) -> dict[str, int]:
        """The search settings: nprobe or ef_search where the index has it, and rerank where it is above 1."""
        inner, found = _inner(self.index), {}
        if isinstance(inner, faiss.IndexIVF):
            found["nprobe"] = int(inner.nprobe)
        if isinstance(inner, faiss.IndexHNSW):
            found["ef_search"] = int(inner.hnsw.efSearch)
        return found | ({"rerank": self.rerank} if self.rerank > 1 else {})

    def with_settings(self, settings: Mapping[str, int]) -> "Engine":
        """The same FAISS index with these search settings; the others stay, and those that it lacks are ignored.

        The index itself is changed but for `rerank`, so no search may run meanwhile. InputError on an unknown name or a
        value below 1.
        """
        for name, value in settings.items():
            if name not in SETTINGS:
                raise InputError(f"search setting {name!r} is unknown; expected one of {', '.join(SETTINGS)}")
            if not 1 <= value <= _MOST:
                raise InputError(f"{name} is {value}; expected at least 1" + f", at most {_MOST}" * (value > _MOST))
        _set_search(_inner(self.index), settings)
        return replace(self, rerank=settings.get("rerank", self.rerank))

    @property
    def n_bytes(self) -> int:
        """The size of the index as a file."""
        sizes: list[int] = []
        faiss.write_index(self.index, faiss.PyCallbackIOWriter(lambda data: sizes.append(len(data))))
        return sum(sizes)


def use_threads(n: int) -> None:
    """Set FAISS's number of threads for the whole process; called once, at the process's entry point."""
    faiss.omp_set_num_threads(n)


@contextmanager
def using_threads(n: int) -> Iterator[None]:
    """Set FAISS's number of threads for a while, of the whole process."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def engine_of(index: Any) -> Engine:
    """Wrap a FAISS index with the capabilities of its class."""
    inner, whole = _inner(index), not isinstance(index, faiss.IndexPreTransform)  # whole: it has all dimensions
    full_vectors = (faiss.IndexFlat, faiss.IndexIVFFlat, faiss.IndexHNSWFlat)
    selectable = (faiss.IndexFlat, faiss.IndexIVF, faiss.IndexHNSW, faiss.IndexScalarQuantizer)
    # Others scan blocks of queries, or lists that could depend on other queries, or project by BLAS before the search.
    independent = (faiss.IndexFlat, faiss.IndexHNSW, faiss.IndexScalarQuantizer)
    return Engine(
        index=index,
        exact=whole and isinstance(inner, full_vectors),
        exhaustive=whole and isinstance(inner, faiss.IndexFlat),
        takes_selector=isinstance(inner, selectable) and not isinstance(inner, faiss.IndexIVFFastScan),
        one_at_a_time=not (whole and isinstance(inner, independent)),
        unit_queries=isinstance(inner, faiss.IndexIVF) and _is_pair(inner.quantizer),
        plain=type(index) in (faiss.IndexFlat, faiss.IndexFlatIP),  # a Panorama index is flat too
    )


def build_engine(
    vectors: Array, factory: str, settings: Mapping[str, int] | None = None, progress: Progress | None = None
) -> Engine:
    """Train and fill an index by its factory string (index/building.py); InputError where FAISS refuses that.

    Settings that are not given have defaults.
    """
    try:
        index = build_index(vectors, factory, progress)
    except RuntimeError as error:
        size = f"{vectors.shape[0]} vectors of {vectors.shape[1]}"
        raise InputError(f"index factory {factory!r} does not fit {size}: {_reason(error)}") from error
    return engine_of(index).with_settings({**_default_settings(index), **(settings or {})})


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


def _inner(index: Any) -> Any:
    """The index behind a projection or rotation."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _is_pair(quantizer: Any) -> bool:
    """Whether lists are probed by more than an inner product (index/building.py)."""
    return isinstance(faiss.downcast_index(quantizer), faiss.IndexPreTransform)


def _default_settings(index: Any) -> dict[str, int]:
    inner = _inner(index)
    nlist = inner.nlist if isinstance(inner, faiss.IndexIVF) else 1
    coarse = isinstance(inner, faiss.IndexFastScan | faiss.IndexIVFFastScan | faiss.IndexPQ | faiss.IndexRaBitQ)
    return {
        "nprobe": PROBED_ROOTS * isqrt(nlist),
        "ef_search": DEFAULT_EF_SEARCH,
        "rerank": DEFAULT_RERANK if coarse or inner is not index else 1,
    }


def _set_search(index: Any, settings: Mapping[str, int]) -> None:
    if isinstance(index, faiss.IndexIVF) and "nprobe" in settings:
        index.nprobe = min(settings["nprobe"], index.nlist)
    if isinstance(index, faiss.IndexHNSW) and "ef_search" in settings:
        index.hnsw.efSearch = settings["ef_search"]


def _parameters(index: Any, selector: Any, effort: float) -> Any:
    """What FAISS takes with one search; None for kinds that take nothing."""
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(ceil(effort * index.nprobe), index.nlist))
    if isinstance(index, faiss.IndexHNSW):
        ef_search = min(ceil(effort * index.hnsw.efSearch), index.ntotal)
        return faiss.SearchParametersHNSW(sel=selector, efSearch=ef_search)
    return None if selector is None else faiss.SearchParameters(sel=selector)


def _reason(error: Exception) -> str:
    """FAISS's message without its C++ signature."""
    return str(error).rpartition(": ")[2].strip() or type(error).__name__
