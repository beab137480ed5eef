"""One interface to search an index on the CPU or on a GPU: `rows, scores = await search(vector, k, exclude)`."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from index.batching import BatchingSearcher
from index.bundle import Bundle
from index.errors import InputError
from index.gpu import n_gpus, place_on_all
from index.item_index import ItemIndex
from index.recall import OneSearch
from index.recommending.profile import NO_ROWS
from service.ranking.recall_sampling import RecallSampler, Sampling
from service.settings import RankingSettings
from service.telemetry.metrics import RankingMetrics

Array = np.ndarray[Any, Any]
SearchResult = tuple[Array, Array]  # rows (<= k,) and scores (<= k,), best first


class ItemSearch(Protocol):
    """Finds the best items for one vector or many; a vector's result is the same alone and among others."""

    @property
    def hidden(self) -> Array:
        """The rows that no result contains, ascending."""

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows, from the next search on."""

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> SearchResult:
        """The k best rows for one vector (d,) without the excluded ones."""

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[SearchResult]:
        """The k best rows for each vector, without its excluded ones, among the ascending rows `within` if given."""


class _HidingSearch:
    """Base of searches whose hidden rows can change."""

    def __init__(self, index: ItemIndex, sampling: Sampling | None = None) -> None:
        self._index = index
        self._sampling = sampling

    @property
    def hidden(self) -> Array:
        return self._index.hidden

    def hide(self, rows: Array) -> None:
        self._index = self._index.with_hidden(rows)

    def _search(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None
    ) -> list[SearchResult]:
        index, results = self._index, search_index(self._index, vectors, k, exclude, within)
        if self._sampling is not None:
            for vector, excluded, (_, scores) in zip(vectors, exclude, results, strict=True):
                if self._sampling.due():
                    self._sampling.offer(OneSearch(index, vector, k, excluded, within, scores))
        return results


class InlineSearch(_HidingSearch):
    """Searches in the event loop: at usual sizes 0.1 ms, less than handing the search to a thread costs.

    Searches that arrive in one iteration of the loop, all within the same rows, run as one, since each reads the same
    item vectors.
    """

    def __init__(self, index: ItemIndex, sampling: Sampling | None = None) -> None:
        super().__init__(index, sampling)
        self._pending: list[_PendingSearch] = []

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> SearchResult:
        return await self._shared(vector, k, NO_ROWS if exclude is None else exclude, None)

    def _shared(self, vector: Array, k: int, exclude: Array, within: Array | None) -> "asyncio.Future[SearchResult]":
        """The result of a search that runs with others, soon."""
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(self._search_pending)
        search = _PendingSearch(vector, k, exclude, within, loop.create_future())
        self._pending.append(search)
        return search.result

    def _search_pending(self) -> None:
        pending, self._pending = self._pending, []
        groups: dict[tuple[int, int, int], list[_PendingSearch]] = {}
        for search in pending:
            if not search.result.done():  # its request may have been cancelled
                groups.setdefault((search.k, *_place_of(search.within)), []).append(search)
        for group in groups.values():
            self._search_group(group)

    def _search_group(self, group: "list[_PendingSearch]") -> None:
        try:
            vectors, exclude = [search.vector for search in group], [search.exclude for search in group]
            results = self._search(vectors, group[0].k, exclude, group[0].within)
        except InputError as error:
            if len(group) == 1:
                group[0].result.set_exception(error)
            else:  # an invalid search must not fail the others
                for search in group:
                    self._search_group([search])
            return
        for search, result in zip(group, results, strict=True):
            search.result.set_result(result)

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[SearchResult]:
        if len(vectors) == 1:
            return [await self._shared(vectors[0], k, exclude[0], within)]
        return self._search(vectors, k, exclude, within)


class _PendingSearch(NamedTuple):
    vector: Array  # (d,)
    k: int
    exclude: Array
    within: Array | None
    result: "asyncio.Future[SearchResult]"


def _place_of(within: Array | None) -> tuple[int, int]:
    """Where the rows are in memory: requests with the same filter have the same ones, as these are cached."""
    if within is None:
        return 0, -1
    address: int = within.__array_interface__["data"][0]
    return address, len(within)


def search_index(
    index: ItemIndex, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None
) -> list[SearchResult]:
    """One search of the index for all vectors, in the caller's thread."""
    if not vectors:
        return []
    rows, scores = index.search(np.stack(vectors), k, exclude, within)
    return [trim_padding(*result) for result in zip(rows, scores, strict=True)]


def trim_padding(rows: Array, scores: Array) -> SearchResult:
    """The result without the padding (rows of -1) of a list shorter than k."""
    n = int(np.count_nonzero(rows >= 0))
    return rows[:n], scores[:n]


class BatchedSearch(_HidingSearch):
    """Searches in the only thread that may search a GPU index."""

    def __init__(self, searcher: BatchingSearcher, index: ItemIndex, sampling: Sampling | None = None) -> None:
        super().__init__(index, sampling)
        self._searcher = searcher

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> SearchResult:
        index = self._index
        found = trim_padding(*await asyncio.wrap_future(self._searcher.submit(vector, k, exclude, index=index)))
        if self._sampling is not None and self._sampling.due():
            excluded = NO_ROWS if exclude is None else exclude
            self._sampling.offer(OneSearch(index, vector, k, excluded, None, found[1]))
        return found

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[SearchResult]:
        if within is not None:  # on the CPU, since no GPU search takes a selection of rows
            return self._search(vectors, k, exclude, within)
        pairs = zip(vectors, exclude, strict=True)
        return await asyncio.gather(*(self(vector, k, excluded) for vector, excluded in pairs))


def open_search(
    settings: RankingSettings, metrics: RankingMetrics, bundle: Bundle, sampler: RecallSampler | None = None
) -> tuple[ItemSearch, str, Callable[[], None]]:
    """Open the search over the bundle's index; return it, its device (`cpu` or `gpu`), and a function that closes it.

    It is on a GPU where FAISS sees one and the settings allow it. `sampler` measures some of its results.
    """
    index, n_devices = bundle.index(), n_gpus() if settings.gpu == "auto" else 0
    placed = place_on_all(index, spread=settings.gpu_spread, float16=settings.gpu_float16) if n_devices else []
    n_expected = n_devices if settings.gpu_spread == "replicas" else min(1, n_devices)
    metrics.index_fallbacks.inc(n_expected - len(placed))
    searched = placed[0] if placed else index
    sampling = None if sampler is None else sampler.sampling_of(bundle.bundle_id, searched)
    if not placed:
        return InlineSearch(index, sampling), index.engine.device, lambda: None
    first, *replicas = placed
    searcher = BatchingSearcher(
        first,
        replicas=replicas,
        gather_s=settings.gpu_gather_ms / 1_000,
        on_fallback=lambda _: metrics.index_fallbacks.inc(),
    )
    return BatchedSearch(searcher, first, sampling), first.engine.device, searcher.close
