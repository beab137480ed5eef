"""User vectors in Redis: raw float32 bytes, one shared round trip at a time, never the reason that a request fails."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import structlog
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.redis.circuit_breaker import BreakerState, CircuitBreaker
from service.redis.client import CLOSE_S, FAILURES, RedisClient, connect, read_many, refresh, within
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.vector_keys import Vector, decode_vector

T = TypeVar("T")

READ_OUTCOMES = ("hit", "miss", "bad", "late", "error", "skipped")
WRITE_OUTCOMES = ("done", "error", "dropped")
WRITE_BATCH = 256  # vectors a pipeline
WRITE_S = 1.0  # nobody waits for a write, so it may take longer than a read

log = structlog.get_logger()


@dataclass(frozen=True)
class ReadFailure:
    """Redis did not answer; the outcome that is counted for each request that waited."""

    outcome: str


Reply = bytes | str | None | ReadFailure  # str only to redis-py's annotations: replies are not decoded


class VectorCache:
    """Reads and writes vectors under a time budget, behind a circuit.

    Requests that arrive while a read is under way share the next one (one MGET): Redis is asked once per round
    trip, however many wait, which costs a tenth of a GET for each. Writes are queued, bounded, and not waited for.
    """

    def __init__(
        self, redis: RedisClient, circuit: CircuitBreaker, settings: Settings, metrics: Metrics, rng: random.Random
    ) -> None:
        self._redis = redis
        self._circuit = circuit
        self._settings = settings
        self._budget_s = settings.redis_budget_ms / 2000
        self._rng = rng
        self._reads = {outcome: metrics.redis_reads.labels(outcome) for outcome in READ_OUTCOMES}
        self._writes = {outcome: metrics.redis_writes.labels(outcome) for outcome in WRITE_OUTCOMES}
        self._wanted: dict[bytes, asyncio.Future[Reply]] = {}
        self._pending: dict[bytes, bytes] = {}
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """The circuit's state, for /readyz."""
        return self._circuit.state.value

    async def get(self, key: bytes, own: Vector) -> tuple[Vector, bool]:
        """The vector under the key and True; or `own` and False, which is then written where Redis lacks it."""
        reply = await self._ask(key) if self._circuit.allows() else ReadFailure("skipped")
        if isinstance(reply, ReadFailure):
            self._reads[reply.outcome].inc()
            return own, False
        vector = None if reply is None else decode_vector(reply, len(own))
        if vector is not None:
            self._reads["hit"].inc()
            return vector, True
        self._reads["miss" if reply is None else "bad"].inc()
        self._put(key, own)
        return own, False

    async def _ask(self, key: bytes) -> Reply:
        """Join the next read. A request waits for the read under way and for its own, so each has half the budget."""
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._reader is None:
            self._reader = _background(self._read())
        return await asyncio.shield(future)  # shielded: others may wait for the same key

    async def _read(self) -> None:
        batch: dict[bytes, asyncio.Future[Reply]] = {}
        try:
            while self._wanted:
                batch, self._wanted = self._wanted, {}
                replies = await self._fetch(list(batch))
                for future, reply in zip(batch.values(), replies, strict=True):
                    future.set_result(reply)
        finally:
            self._reader = None
            self._release(batch)

    def _release(self, batch: dict[bytes, asyncio.Future[Reply]]) -> None:
        """Whatever ended the reader, nobody waits for it any longer."""
        for future in (*batch.values(), *self._wanted.values()):
            if not future.done():
                future.set_result(ReadFailure("error"))
        self._wanted = {}

    async def _fetch(self, keys: list[bytes]) -> Sequence[Reply]:
        """One MGET. A connection cut short by the budget is closed, so no reply meets a later question."""
        if self._circuit.state is BreakerState.OPEN:  # opened while these keys waited
            return [ReadFailure("skipped")] * len(keys)
        try:
            replies = await within(read_many(self._redis, keys), self._budget_s)
        except FAILURES as error:
            return [self._failed(error)] * len(keys)
        self._circuit.succeeded()
        return replies

    def _failed(self, error: Exception) -> ReadFailure:
        self._circuit.failed()
        log.warning("redis failed", error=repr(error)[:200], circuit=self.state)
        if self._refresher is None:
            self._refresher = _background(self._refresh())
        return ReadFailure("late" if isinstance(error, (TimeoutError, RedisTimeoutError)) else "error")

    def _put(self, key: bytes, vector: Vector) -> None:
        """Queue a write; dropped where the queue is full."""
        if len(self._pending) >= self._settings.redis_pending_writes:
            self._writes["dropped"].inc()
            return
        self._pending[key] = vector.astype("<f4").tobytes()
        if self._writer is None:
            self._writer = _background(self._write())

    async def _write(self) -> None:
        try:
            while self._pending:
                keys = list(islice(self._pending, WRITE_BATCH))
                await self._store([(key, self._pending.pop(key)) for key in keys])
        finally:
            self._writer = None

    async def _store(self, items: list[tuple[bytes, bytes]]) -> None:
        """One pipeline of SET. A refusal (memory full, read-only replica) is counted, but reads still work."""
        if self._circuit.state is not BreakerState.CLOSED:
            self._writes["dropped"].inc(len(items))
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, data in items:
            pipeline.set(key, data, ex=self._time_to_live())
        try:
            results = await within(pipeline.execute(raise_on_error=False), WRITE_S)
        except FAILURES as error:
            self._failed(error)
            self._writes["error"].inc(len(items))
            return
        for result in results:
            self._writes["error" if isinstance(result, Exception) else "done"].inc()

    def _time_to_live(self) -> int:
        jitter = self._settings.redis_ttl_jitter * self._rng.uniform(-1, 1)
        return max(1, round(self._settings.redis_ttl_s * (1 + jitter)))

    async def _refresh(self) -> None:
        """A new view of a cluster takes longer than a request may wait, so it is had beside the requests."""
        try:
            with suppress(*FAILURES):
                await within(refresh(self._redis), WRITE_S)
        finally:
            self._refresher = None

    async def check(self) -> None:
        """Ask once, so that the circuit's first state is a finding and the first request finds a connection."""
        try:
            await within(self._redis.ping(), WRITE_S)
        except FAILURES as error:
            self._failed(error)

    async def close(self) -> None:
        """Let pending writes end, for a moment, and close the connections."""
        tasks = [task for task in (self._reader, self._writer, self._refresher) if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        for task in tasks:
            task.cancel()
        with suppress(*FAILURES):
            await within(self._redis.aclose(), CLOSE_S)


def _background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task outside the request that happens to start it: its log lines do not carry that request's id."""
    return asyncio.get_running_loop().create_task(work, context=Context())


@asynccontextmanager
async def open_cache(settings: Settings, metrics: Metrics, rng: random.Random) -> AsyncIterator[VectorCache | None]:
    """The cache that the settings ask for, closed at the end; None without a Redis."""
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
