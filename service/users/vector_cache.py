"""Caches user vectors in Redis as raw float32 bytes; requests share round trips, and no failure fails a request."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice

import structlog
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.background import start_worker
from service.redis.circuit_breaker import BreakerState, CircuitBreaker
from service.redis.client import CLOSE_S, FAILURES, RedisClient, connect, read_many, reason_of, refresh, within
from service.settings import RedisSettings
from service.telemetry.metrics import RedisMetrics
from service.users.vector_keys import Vector, decode_vector

READ_OUTCOMES = ("hit", "miss", "bad", "late", "error", "skipped")
WRITE_OUTCOMES = ("done", "error", "dropped")
WRITE_BATCH = 256  # vectors a pipeline
WRITE_S = 1.0  # longer than for a read, since no request waits for a write

log = structlog.get_logger()


@dataclass(frozen=True)
class ReadFailure:
    """A failed read, with the outcome to count for each request that waited for it."""

    outcome: str


Reply = bytes | str | None | ReadFailure  # str only for redis-py's annotations: replies are not decoded


class VectorCache:
    """Reads and writes vectors within a time budget, behind a circuit breaker.

    Requests that arrive during a read share the next one, a single MGET, at a tenth of the cost of a GET for each.
    Writes wait in a bounded queue, and no request waits for them.
    """

    def __init__(
        self,
        redis: RedisClient,
        circuit: CircuitBreaker,
        settings: RedisSettings,
        metrics: RedisMetrics,
        rng: random.Random,
    ) -> None:
        self._redis = redis
        self._circuit = circuit
        self._settings = settings
        self._metrics = metrics
        self._budget_s = settings.redis_budget_ms / 2000
        self._rng = rng
        self._reads = {outcome: metrics.redis_reads.labels(outcome) for outcome in READ_OUTCOMES}
        self._writes = {outcome: metrics.redis_writes.labels(outcome) for outcome in WRITE_OUTCOMES}
        self._pending_reads: dict[bytes, asyncio.Future[Reply]] = {}
        self._pending_writes: dict[bytes, bytes] = {}
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """The circuit's state, for /readyz."""
        return self._circuit.state.value

    async def get(self, key: bytes, default: Vector) -> tuple[Vector, bool]:
        """The cached vector and True, else `default` and False; after a miss `default` is written to Redis."""
        reply = await self._shared_read(key) if self._circuit.allows() else ReadFailure("skipped")
        if isinstance(reply, ReadFailure):
            self._reads[reply.outcome].inc()
            return default, False
        vector = None if reply is None else decode_vector(reply, len(default))
        if vector is not None:
            self._reads["hit"].inc()
            return vector, True
        self._reads["miss" if reply is None else "bad"].inc()
        self._queue_write(key, default)
        return default, False

    async def _shared_read(self, key: bytes) -> Reply:
        """Join the next read. A request waits for the current read and for its own, so each has half the budget."""
        future = self._pending_reads.get(key)
        if future is None:
            future = self._pending_reads[key] = asyncio.get_running_loop().create_future()
        if self._reader is None:
            self._reader = start_worker(self._metrics, "vector_reader", self._read_pending())
        return await asyncio.shield(future)  # others may wait for the same key

    async def _read_pending(self) -> None:
        batch: dict[bytes, asyncio.Future[Reply]] = {}
        try:
            while self._pending_reads:
                batch, self._pending_reads = self._pending_reads, {}
                replies = await self._fetch(list(batch))
                for future, reply in zip(batch.values(), replies, strict=True):
                    future.set_result(reply)
        finally:
            self._reader = None
            self._fail_unanswered(batch)

    def _fail_unanswered(self, batch: dict[bytes, asyncio.Future[Reply]]) -> None:
        """When the reader ends for any reason, no request may wait for it."""
        for future in (*batch.values(), *self._pending_reads.values()):
            if not future.done():
                future.set_result(ReadFailure("error"))
        self._pending_reads = {}

    async def _fetch(self, keys: list[bytes]) -> Sequence[Reply]:
        """Read the keys by one MGET. On a timeout the connection is closed, so no later read receives its reply."""
        if self._circuit.state is BreakerState.OPEN:  # opened while these keys waited
            return [ReadFailure("skipped")] * len(keys)
        try:
            replies = await within(read_many(self._redis, keys), self._budget_s)
        except FAILURES as error:
            return [self._record_failure(error)] * len(keys)
        self._circuit.succeeded()
        return replies

    def _record_failure(self, error: Exception) -> ReadFailure:
        self._circuit.failed()
        log.warning("redis failed", error=reason_of(error), circuit=self.state)
        if self._refresher is None:
            self._refresher = start_worker(self._metrics, "redis_discovery", self._refresh())
        return ReadFailure("late" if isinstance(error, (TimeoutError, RedisTimeoutError)) else "error")

    def _queue_write(self, key: bytes, vector: Vector) -> None:
        if len(self._pending_writes) >= self._settings.redis_pending_writes:
            self._writes["dropped"].inc()
            return
        self._pending_writes[key] = vector.astype("<f4").tobytes()
        if self._writer is None:
            self._writer = start_worker(self._metrics, "vector_writer", self._write_pending())

    async def _write_pending(self) -> None:
        try:
            while self._pending_writes:
                keys = list(islice(self._pending_writes, WRITE_BATCH))
                await self._store([(key, self._pending_writes.pop(key)) for key in keys])
        finally:
            self._writer = None

    async def _store(self, items: list[tuple[bytes, bytes]]) -> None:
        """Write by one pipeline. A refusal (memory full, read-only replica) leaves the circuit closed: reads work."""
        if self._circuit.state is not BreakerState.CLOSED:
            self._writes["dropped"].inc(len(items))
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, data in items:
            pipeline.set(key, data, ex=self._time_to_live())
        try:
            results = await within(pipeline.execute(raise_on_error=False), WRITE_S)
        except FAILURES as error:
            self._record_failure(error)
            self._writes["error"].inc(len(items))
            return
        for result in results:
            self._writes["error" if isinstance(result, Exception) else "done"].inc()

    def _time_to_live(self) -> int:
        jitter = self._settings.redis_ttl_jitter * self._rng.uniform(-1, 1)
        return max(1, round(self._settings.redis_ttl_s * (1 + jitter)))

    async def _refresh(self) -> None:
        """Refresh the view of a cluster in the background, which takes longer than a request may wait."""
        try:
            with suppress(*FAILURES):
                await within(refresh(self._redis), WRITE_S)
        finally:
            self._refresher = None

    async def held(self, keys: Sequence[bytes]) -> list[bool]:
        """Which of the keys have a vector; FAILURES where Redis does not respond."""
        return [value is not None for value in await within(read_many(self._redis, list(keys)), WRITE_S)]

    async def delete(self, keys: Sequence[bytes]) -> int:
        """Delete vectors, those that wait to be written too; how many there were. FAILURES as for `held`."""
        for key in keys:
            self._pending_writes.pop(key, None)
        return sum([int(await within(self._redis.delete(key), WRITE_S)) for key in keys])

    async def check(self) -> None:
        """Ping Redis once, so that the circuit's state is known and the first request finds an open connection."""
        try:
            await within(self._redis.ping(), WRITE_S)
        except FAILURES as error:
            self._record_failure(error)

    async def close(self) -> None:
        """Wait up to CLOSE_S for pending writes, then close the connections."""
        tasks = [task for task in (self._reader, self._writer, self._refresher) if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        for task in tasks:
            task.cancel()
        with suppress(*FAILURES):
            await within(self._redis.aclose(), CLOSE_S)


@asynccontextmanager
async def open_cache(
    settings: RedisSettings, metrics: RedisMetrics, rng: random.Random
) -> AsyncIterator[VectorCache | None]:
    """Open the cache and close it at the end; None where the settings name no Redis."""
    if settings.redis_url is None:
        yield None
        return
    circuit = CircuitBreaker(
        failures=settings.redis_failures,
        retry_s=settings.redis_retry_s,
        clock=time.monotonic,
        rng=rng,
        on_change=metrics.show_circuit,
    )
    cache = VectorCache(connect(settings.redis_url.get_secret_value()), circuit, settings, metrics, rng)
    await cache.check()
    try:
        yield cache
    finally:
        await cache.close()
