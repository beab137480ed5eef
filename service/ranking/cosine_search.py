"""Searches large tables by cosine in threads: a scan takes tenths of a second, in which the event loop goes on."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from index.cosine_scan import CosineScan
from index.recommending.profile import NO_ROWS
from service.ranking.search import SearchResult

Array = np.ndarray[Any, Any]


class CosineSearch:
    """An ItemSearch over tables that are not copied (index/cosine_scan.py)."""

    def __init__(self, scan: CosineScan) -> None:
        self._scan = scan
        self.hidden = NO_ROWS

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows, from the next search on."""
        self.hidden = rows

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> SearchResult:
        """The k best rows for one unit vector (width,) without the excluded ones."""
        (result,) = await self.many([vector], k, [NO_ROWS if exclude is None else exclude])
        return result

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[SearchResult]:
        """The k best rows for each unit vector, one after another."""
        hidden = self.hidden
        return [
            await asyncio.to_thread(self._scan.search, vector, k, np.concatenate([excluded, hidden]), within)
            for vector, excluded in zip(vectors, exclude, strict=True)
        ]
