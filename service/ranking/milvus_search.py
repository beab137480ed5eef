"""Searches a bundle's collection in Milvus: in threads, within a timeout, behind a circuit breaker.

Where Milvus fails, the bundle's own index answers in the same threads, or the request is refused: RECO_MILVUS_FALLBACK.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from index.batching import BatchingSearcher
from index.bundle import Bundle
from index.item_index import ItemIndex
from index.milvus.engine import (
    Milvus,
    MilvusEngine,
    MilvusError,
    milvus_errors_as_input_errors,
    over_milvus,
    require_collection,
)
from index.milvus.names import collection_of
from service.errors import IndexUnavailableError
from service.ranking.recall_sampling import RecallSampler, Sampling
from service.ranking.search import Array, BatchedSearch, SearchResult, search_index
from service.redis.circuit_breaker import BreakerState, CircuitBreaker
from service.settings import MilvusSettings
from service.telemetry.metrics import RankingMetrics

BATCH = 16  # requests that one call to Milvus takes: more would wait for each other's filters
SWAP_S = 10.0  # timeout of a call before a swap, for which no request waits

log = structlog.get_logger()


class Guard:
    """The circuit breaker and the metrics of all searches of one collection. Thread-safe."""

    def __init__(self, settings: MilvusSettings, metrics: RankingMetrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._circuit = CircuitBreaker(
            failures=settings.milvus_failures,
            retry_s=settings.milvus_retry_s,
            clock=time.monotonic,
            rng=random.Random(),
            on_change=metrics.show_milvus_circuit,
        )

    def run(self, search: Callable[[], tuple[Array, Array]]) -> tuple[Array, Array]:
        """The search's result; MilvusError where it fails, or at once while the circuit is open."""
        with self._lock:
            if not self._circuit.allows():
                self._metrics.milvus_searches.labels("skipped").inc()
                raise MilvusError("the circuit to Milvus is open")
        start, outcome = time.perf_counter(), "error"
        try:
            found = search()
            outcome = "done"
        except MilvusError as error:
            outcome = "late" if error.late else "error"
            self._log(error)
            raise
        finally:  # whatever it raised, the circuit must not wait for this search
            self._end(outcome)
        self._metrics.milvus_seconds.observe(time.perf_counter() - start)
        return found

    def _log(self, error: MilvusError) -> None:
        if self._circuit.state is BreakerState.CLOSED:  # once, not for each probe of an outage
            log.warning("Milvus failed", error=str(error))

    def _end(self, outcome: str) -> None:
        self._metrics.milvus_searches.labels(outcome).inc()
        with self._lock:
            if outcome == "done":
                self._circuit.succeeded()
            else:
                self._circuit.failed()


@dataclass(frozen=True, eq=False, kw_only=True)
class GuardedEngine(MilvusEngine):
    """A collection's engine behind a guard; without a fallback a failure is the request's error."""

    guard: Guard
    refuse: bool

    def search(self, queries: Array, n: int, allowed: Array | None = None, effort: float = 1.0) -> tuple[Array, Array]:
        """As MilvusEngine.search; where a failure is refused, IndexUnavailableError in place of MilvusError."""
        find = super().search
        try:
            return self.guard.run(lambda: find(queries, n, allowed, effort))
        except MilvusError as error:
            if self.refuse:
                raise IndexUnavailableError("the search index is unavailable; retry shortly") from error
            raise


class MilvusSearch(BatchedSearch):
    """Searches in threads that wait for Milvus; requests that come together share one call."""

    def __init__(
        self, searcher: BatchingSearcher, index: ItemIndex, local: ItemIndex, sampling: Sampling | None
    ) -> None:
        super().__init__(searcher, index, sampling)
        self._local = local

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[SearchResult]:
        if within is None:
            return await super().many(vectors, k, exclude)
        return await asyncio.to_thread(self._within, self._index, vectors, k, exclude, within)

    def _within(
        self, index: ItemIndex, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array
    ) -> list[SearchResult]:
        try:
            return search_index(index, vectors, k, exclude, within)
        except MilvusError:
            return search_index(self._local.with_hidden(index.hidden), vectors, k, exclude, within)


def open_milvus_search(
    settings: MilvusSettings, uri: str, metrics: RankingMetrics, bundle: Bundle, sampler: RecallSampler | None
) -> tuple[MilvusSearch, Callable[[], None]]:
    """The search over the bundle's collection, and a function that closes it. Sends nothing yet."""
    milvus = connection(settings, uri, settings.milvus_timeout_ms / 1_000)
    guard, refuse = Guard(settings, metrics), settings.milvus_fallback == "none"
    engine = GuardedEngine.of(milvus, collection_of(bundle.bundle_id), guard=guard, refuse=refuse)
    local = bundle.index()
    index = over_milvus(engine, local)
    sampling = None if sampler is None else sampler.sampling_of(bundle.bundle_id, index)
    searcher = BatchingSearcher(index, replicas=[index] * (settings.milvus_threads - 1), max_batch=BATCH)

    def close() -> None:
        searcher.close()
        milvus.close()

    return MilvusSearch(searcher, index, local, sampling), close


def connection(settings: MilvusSettings, uri: str, timeout_s: float) -> Milvus:
    """A connection, which opens at the first call."""
    token = "" if settings.milvus_token is None else settings.milvus_token.get_secret_value()
    return Milvus(uri, token, timeout_s=timeout_s)


def require_bundle(settings: MilvusSettings, uri: str, bundle_id: str) -> None:
    """InputError where Milvus has no whole collection of the bundle, or does not respond."""
    milvus = connection(settings, uri, SWAP_S)
    try:
        with milvus_errors_as_input_errors():
            require_collection(milvus, bundle_id)
    finally:
        milvus.close()
