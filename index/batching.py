"""One thread that searches, and the requests of all others batched onto it: what a GPU index needs.

On the CPU no thread is needed: there the service searches in its event loop, for the calls of one turn together.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

from index.item_index import ItemIndex
from index.ranking import Array, Exclude, checked_exclude, checked_k, checked_queries

Answer = tuple[Array, Array]  # rows (k,) int64, scores (k,) float32


@dataclass(frozen=True)
class _Request:
    index: ItemIndex
    query: Array  # (d,)
    k: int
    excluded: Array
    future: "Future[Answer]" = field(default_factory=Future)


@dataclass(frozen=True)
class _Retired:
    """An index handed to the search thread to be dropped there, behind the searches that still wait for it."""

    index: ItemIndex


class BatchingSearcher:
    """Searches ItemIndexes from any number of threads through one, which takes all waiting requests at once.

    A request belongs to the index that was current when it was submitted, or to the one that it names: after a swap
    no query meets the index of another bundle. Where a search raises RuntimeError (FAISS's GPU errors) and the index
    has an `overflow`, that answers instead and `on_fallback(error)` is called, in the search thread.
    """

    def __init__(
        self,
        index: ItemIndex,
        *,
        max_batch: int = 256,
        on_fallback: Callable[[RuntimeError], None] = lambda error: None,
    ) -> None:
        self._index = index
        self._max_batch = max_batch
        self._on_fallback = on_fallback
        self._waiting: SimpleQueue[_Request | _Retired | None] = SimpleQueue()
        self._lock = Lock()  # no request may follow the end mark into the queue
        self._closed = False
        self._thread = Thread(target=self._run, name="index-search", daemon=True)
        self._thread.start()

    def submit(
        self, query: Array, k: int, exclude: Array | None = None, *, index: ItemIndex | None = None
    ) -> "Future[Answer]":
        """Ask for the k best rows of one query (d,). InputError at once where it is wrong, so that a bad request
        cannot spoil the batch it would ride in; RuntimeError once closed.
        """
        request = _checked(self._index if index is None else index, query, k, exclude)
        with self._lock:
            if self._closed:
                raise RuntimeError("the searcher is closed")
            self._waiting.put(request)
        return request.future

    def swap(self, index: ItemIndex) -> None:
        """Let requests from now on be answered by this index; the old one goes after its last search."""
        with self._lock:
            self._waiting.put(_Retired(self._index))
            self._index = index

    def close(self) -> None:
        """Answer what waits, then end the thread. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._answer_waiting():
            pass

    def _answer_waiting(self) -> bool:
        """Answer one batch; False after the end mark. Its own frame: no index outlives its last batch in a local."""
        batch = self._collect()
        requests = [one for one in batch if isinstance(one, _Request) and one.future.set_running_or_notify_cancel()]
        for _, alike in groupby(sorted(requests, key=_likeness), key=_likeness):
            self._answer(list(alike))
        return batch[-1] is not None

    def _collect(self) -> list[_Request | _Retired | None]:
        """Wait for one request, then take what else is already there: no request waits for company."""
        batch = [self._waiting.get()]
        while len(batch) < self._max_batch and batch[-1] is not None:
            try:
                batch.append(self._waiting.get_nowait())
            except Empty:
                break
        return batch

    def _answer(self, requests: list[_Request]) -> None:
        try:
            rows, scores = self._search(requests)
        except Exception as error:  # the thread's outermost edge: whoever waits is told, and the thread lives
            for request in requests:
                request.future.set_exception(error)
            return
        for request, *answer in zip(requests, rows, scores, strict=True):
            request.future.set_result((answer[0], answer[1]))

    def _search(self, requests: list[_Request]) -> Answer:
        index, k = requests[0].index, requests[0].k
        queries = np.stack([request.query for request in requests])  # (m, d)
        exclude = [request.excluded for request in requests]
        try:
            return index.search(queries, k, exclude)
        except RuntimeError as error:
            if index.overflow is None:
                raise
            self._on_fallback(error)
            return index.overflow.search(queries, k, exclude)


def _checked(index: ItemIndex, query: Array, k: int, exclude: Exclude) -> _Request:
    (row,) = checked_queries(query, index.vectors.shape[1])
    (excluded,) = checked_exclude(exclude, 1, len(index))
    return _Request(index, row, checked_k(k, len(index)), excluded)


def _likeness(request: _Request) -> Any:
    return id(request.index), request.k
