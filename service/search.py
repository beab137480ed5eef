"""One way to search, whatever holds the vectors: `rows, scores = await search(vector, k, exclude)`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from index.bundle import Bundle
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


@asynccontextmanager
async def open_search(settings: Settings, metrics: Metrics, bundle: Bundle) -> AsyncIterator[tuple[str, Search]]:
    """The device and the search over the bundle's index."""
    yield "cpu", inline(bundle.index())
