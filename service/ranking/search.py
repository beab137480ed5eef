"""One way to search, whatever holds the vectors: `rows, scores = await search(vector, k, exclude)`."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from index.batching import BatchingSearcher
from index.bundle import Bundle
from index.errors import InputError
from index.gpu import n_gpus, place_index
from index.item_index import ItemIndex
from service.ranking.profile import NO_ROWS
from service.settings import Settings
from service.telemetry.metrics import Metrics

Array = np.ndarray[Any, Any]
Found = tuple[Array, Array]  # rows (<= k,) and scores (<= k,), best first


class Search(Protocol):
    """The best items for a vector, and for many at once: one of many is answered as it would be alone."""

    @property
    def hidden(self) -> Array:
        """The rows that never come back, ascending."""

    def hide(self, rows: Array) -> None:
        """Let exactly these rows never come back, from the next search on."""

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> Found:
        """The k best rows for one vector (d,) without the excluded ones."""

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[Found]:
        """The k best rows for each vector, without its excluded ones, among the ascending rows `within` if given."""


class _Hiding:
    """An index of which some rows are hidden for a time."""

    def __init__(self, index: ItemIndex) -> None:
        self._index = index

    @property
    def hidden(self) -> Array:
        """The rows that never come back."""
        return self._index.hidden

    def hide(self, rows: Array) -> None:
        """Let exactly these rows never come back."""
        self._index = self._index.with_hidden(rows)


class Inline(_Hiding):
    """Search in the event loop: a tenth of a millisecond at usual sizes, less than handing it to a thread costs.

    Calls of one turn of the loop are searched for together, for each asks after the same vectors.
    """

    def __init__(self, index: ItemIndex) -> None:
        super().__init__(index)
        self._waiting: list[_Waiting] = []

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> Found:
        """One search."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._search)
        one = _Waiting(vector, k, NO_ROWS if exclude is None else exclude, loop.create_future())
        self._waiting.append(one)
        return await one.found

    def _search(self) -> None:
        waiting, self._waiting = self._waiting, []
        alike: dict[int, list[_Waiting]] = {}
        for one in waiting:
            if not one.found.done():  # its request may have ended meanwhile
                alike.setdefault(one.k, []).append(one)
        for k, group in alike.items():
            self._search_for(group, k)

    def _search_for(self, group: "list[_Waiting]", k: int) -> None:
        try:
            found = searched(self._index, [one.vector for one in group], k, [one.exclude for one in group], None)
        except InputError as error:
            if len(group) == 1:
                group[0].found.set_exception(error)
            else:  # one of them is wrong, and spoils the answer of no other
                for one in group:
                    self._search_for([one], k)
            return
        for one, answer in zip(group, found, strict=True):
            one.found.set_result(answer)

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[Found]:
        """One search for each vector, at once."""
        return searched(self._index, vectors, k, exclude, within)


class _Waiting(NamedTuple):
    """A search that somebody waits for."""

    vector: Array  # (d,)
    k: int
    exclude: Array
    found: "asyncio.Future[Found]"


def searched(
    index: ItemIndex, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None
) -> list[Found]:
    """One search for all of the vectors, here and now."""
    if not vectors:
        return []
    rows, scores = index.search(np.stack(vectors), k, exclude, within)
    return [trimmed(*found) for found in zip(rows, scores, strict=True)]


def trimmed(rows: Array, scores: Array) -> Found:
    """Without the padding of a list that came out shorter than asked."""
    n = int(np.count_nonzero(rows >= 0))
    return rows[:n], scores[:n]


class Batched(_Hiding):
    """Search in the one thread that a GPU index may be searched from."""

    def __init__(self, searcher: BatchingSearcher, index: ItemIndex) -> None:
        super().__init__(index)
        self._searcher = searcher

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> Found:
        """One search."""
        return trimmed(*await asyncio.wrap_future(self._searcher.submit(vector, k, exclude, index=self._index)))

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[Found]:
        """One search for each vector, at once."""
        if within is not None:  # scored on the CPU whatever the device: no GPU search takes a selection of rows
            return searched(self._index, vectors, k, exclude, within)
        pairs = zip(vectors, exclude, strict=True)
        return await asyncio.gather(*(self(vector, k, left_out) for vector, left_out in pairs))


def place_search(settings: Settings, metrics: Metrics, bundle: Bundle) -> tuple[Search, str, Callable[[], None]]:
    """The search over the bundle's index, the device (a GPU where one is seen and allowed), and what ends it."""
    allowed = settings.gpu == "auto"
    index = place_index(bundle.index(), allow_gpu=allowed)
    if index.engine.device == "cpu":
        if allowed and n_gpus():
            metrics.index_fallbacks.inc()
        return Inline(index), index.engine.device, lambda: None
    searcher = BatchingSearcher(index, on_fallback=lambda _: metrics.index_fallbacks.inc())
    return Batched(searcher, index), index.engine.device, searcher.close
