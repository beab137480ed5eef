"""Search threads that batch the requests of all other threads, for GPU indexes, each of which one thread must search.

CPU indexes need no such thread: the service searches them in its event loop.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

from index.engine import Engine
from index.item_index import ItemIndex
from index.ranking import Array, Exclude, checked_exclude, checked_k, checked_queries

SearchResult = tuple[Array, Array]  # rows (k,) int64, scores (k,) float32


@dataclass(frozen=True)
class _Request:
    index: ItemIndex
    query: Array  # (d,)
    k: int
    excluded: Array
    future: "Future[SearchResult]" = field(default_factory=Future)


class BatchingSearcher:
    """Runs the searches of any number of threads in one thread a device, which takes all queued requests as one batch.

    `replicas` hold the same vectors as the index, each on another device. A batch gathers for `gather_s` seconds at
    most, from when its first request was taken; 0 takes what is queued. Where a search raises RuntimeError (FAISS's
    GPU errors) and the index has an `overflow`, that one searches instead, and the search thread calls
    `on_fallback(error)`.
    """

    def __init__(
        self,
        index: ItemIndex,
        *,
        replicas: Sequence[ItemIndex] = (),
        max_batch: int = 256,
        gather_s: float = 0.0,
        on_fallback: Callable[[RuntimeError], None] = lambda error: None,
    ) -> None:
        self._index = index
        self._max_batch = max_batch
        self._gather_s = gather_s
        self._on_fallback = on_fallback
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._lock = Lock()  # no request may follow the end mark into the queue
        self._closed = False
        engines = [index.engine, *(replica.engine for replica in replicas)]
        self._threads = [Thread(target=self._run, args=(one,), name="index-search", daemon=True) for one in engines]
        for thread in self._threads:
            thread.start()

    def submit(
        self, query: Array, k: int, exclude: Array | None = None, *, index: ItemIndex | None = None
    ) -> "Future[SearchResult]":
        """Queue a search for the k best rows of one query (d,), in `index` where one is given.

        InputError at once where the arguments are invalid, so that they fail no batch; RuntimeError once closed.
        """
        request = _checked(self._index if index is None else index, query, k, exclude)
        with self._lock:
            if self._closed:
                raise RuntimeError("the searcher is closed")
            self._queue.put(request)
        return request.future

    def close(self) -> None:
        """Run the queued searches, then end the threads. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self, engine: Engine) -> None:
        while self._run_batch(engine):
            pass

    def _run_batch(self, engine: Engine) -> bool:
        """Run one batch; False after the end mark. In its own frame, so that no local keeps an index alive."""
        batch = self._collect()
        requests = [one for one in batch if one is not None and one.future.set_running_or_notify_cancel()]
        for _, group in groupby(sorted(requests, key=_batch_key), key=_batch_key):
            self._complete(list(group), engine)
        return batch[-1] is not None

    def _collect(self) -> list[_Request | None]:
        """Wait for one request, then take those already queued and those of the next `gather_s` seconds."""
        batch = [self._queue.get()]
        until = time.monotonic() + self._gather_s
        while len(batch) < self._max_batch and batch[-1] is not None:
            left_s = until - time.monotonic()
            try:
                batch.append(self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait())
            except Empty:
                break
        return batch

    def _complete(self, requests: list[_Request], engine: Engine) -> None:
        try:
            rows, scores = self._search(requests, engine)
        except Exception as error:  # the thread's outermost level: callers get the error and the thread goes on
            for request in requests:
                request.future.set_exception(error)
            return
        for request, *result in zip(requests, rows, scores, strict=True):
            request.future.set_result((result[0], result[1]))

    def _search(self, requests: list[_Request], engine: Engine) -> SearchResult:
        index, k = requests[0].index, requests[0].k
        if index.engine is self._index.engine:  # with its hidden rows, on this thread's device
            index = replace(index, engine=engine)
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


def _batch_key(request: _Request) -> Any:
    return id(request.index), request.k
