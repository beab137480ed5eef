"""One way to search, whatever holds the vectors: `rows, scores = await search(vector, k, exclude)`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from index.batching import BatchingSearcher
from index.bundle import Bundle
from index.gpu import n_gpus, placed
from index.item_index import ItemIndex
from service.metrics import Metrics
from service.settings import Settings

Array = np.ndarray[Any, Any]
Search = Callable[[Array, int, Array | None], Awaitable[tuple[Array, Array]]]


def inline(index: ItemIndex) -> Search:
    """Search in the event loop: a tenth of a millisecond at usual sizes, less than handing it to a thread costs."""

    async def search(vector: Array, k: int, exclude: Array | None) -> tuple[Array, Array]:
        rows, scores = index.search(vector, k, exclude)
        return trimmed(rows[0], scores[0])

    return search


def trimmed(rows: Array, scores: Array) -> tuple[Array, Array]:
    """Without the padding of a list that came out shorter than asked."""
    n = int(np.count_nonzero(rows >= 0))
    return rows[:n], scores[:n]


def batched(searcher: BatchingSearcher) -> Search:
    """Search in the one thread that a GPU index may be searched from."""

    async def search(vector: Array, k: int, exclude: Array | None) -> tuple[Array, Array]:
        return trimmed(*await asyncio.wrap_future(searcher.submit(vector, k, exclude)))

    return search


@asynccontextmanager
async def open_search(settings: Settings, metrics: Metrics, bundle: Bundle) -> AsyncIterator[tuple[str, Search]]:
    """The device and the search over the bundle's index: on a GPU where one is seen and allowed."""
    allowed = settings.gpu == "auto"
    index = placed(bundle.index(), allow_gpu=allowed)
    if index.engine.device == "cpu":
        if allowed and n_gpus():
            metrics.index_fallbacks.inc()
        yield index.engine.device, inline(index)
        return
    searcher = BatchingSearcher(index, on_fallback=lambda _: metrics.index_fallbacks.inc())
    try:
        yield index.engine.device, batched(searcher)
    finally:
        searcher.close()
