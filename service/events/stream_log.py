"""The log of several replicas: a Redis Stream, an event acknowledged once its append-only file is synced."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from typing import Any

import structlog
from redis.exceptions import RedisError

from index.errors import InputError
from service.events.event import CLICK, IMPRESSION, PROFILE, Event, kind_label
from service.events.group_commit import GroupCommit
from service.events.log import Appended, Count, LogUnavailable
from service.events.quality import bucket_of
from service.events.stream_client import StreamClient
from service.events.stream_scripts import APPEND, MARK_EXPORTED, TIDY
from service.redis.circuit_breaker import CircuitBreaker
from service.redis.client import connect
from service.settings import Settings
from service.telemetry.metrics import Metrics

DAY_S = 86_400
TIDY_EVERY_S = 60.0
TIDY_ENTRIES = 1_000  # removed a call: Redis does nothing else meanwhile
AGAIN_S = 0.1  # between two tries of a write
SCRIPT_EVENTS = 256  # added a call, likewise: some milliseconds
SAFE_POLICY = "noeviction"  # any other may drop the stream, or an id by which a repetition is known

log = structlog.get_logger()


class StreamLog:
    """Appends that wait together are sent together, and one WAITAOF behind them waits for the disk.

    Without `event_log_safe` Redis's memory is trusted. Reads for a request share a round trip, under the budget and
    a circuit, as those of the vector cache do.
    """

    def __init__(self, redis: StreamClient, settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock
        self._prefix = _prefix(settings)
        self._stream = stream_of(settings)
        self._ttl = max(1, round(settings.event_retention_days * DAY_S))
        self._circuit = CircuitBreaker(
            failures=settings.redis_failures,
            retry_s=settings.redis_retry_s,
            clock=time.monotonic,
            rng=random.Random(),
            on_change=lambda _: None,
        )
        self._wanted: dict[str, asyncio.Future[list[Event]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._tidy_at = 0.0
        self._away_since: float | None = None  # by the monotonic clock; None while writes succeed
        self._commits = GroupCommit(self._write, self._tidy, metrics, most_waiting=settings.events_waiting)

    async def append(self, events: Sequence[Event]) -> Appended:
        """See EventLog."""
        return await self._commits.append(events)

    async def of_user(self, user_id: str) -> list[Event]:
        """See EventLog. Waits the budget of Redis at most."""
        if user_id not in self._wanted:
            if not self._circuit.allows():
                raise LogUnavailable("the event log's Redis has failed and is left alone for a moment")
            self._wanted[user_id] = asyncio.get_running_loop().create_future()
            if self._reader is None:
                self._reader = asyncio.get_running_loop().create_task(self._read_lists(), context=Context())
        return list(await asyncio.shield(self._wanted[user_id]))

    async def last_position(self) -> int:
        """See EventLog."""
        (newest,) = await self._redis.ask(("XREVRANGE", self._stream, "+", "-", "COUNT", 1))
        return _position(newest[0]) if newest else 0

    async def count_since(self, position: int) -> int:
        """See EventLog. Positions have no gaps, so two looks at the ends are enough."""
        oldest, newest = await self._redis.ask(
            ("XRANGE", self._stream, "-", "+", "COUNT", 1), ("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        )
        return max(0, _position(newest[0]) - max(position, _position(oldest[0]) - 1)) if newest else 0

    async def read(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """See EventLog."""
        (entries,) = await self._redis.ask(("XRANGE", self._stream, f"{after + 1}-0", "+", "COUNT", limit))
        return await asyncio.to_thread(_decoded, entries)  # thousands may come, and the event loop has more to do

    async def counts_since(self, since: float) -> list[Count]:
        """See EventLog."""
        first = bucket_of(since)
        (days,) = await self._redis.ask(("ZRANGEBYSCORE", self._prefix + "days", first // DAY_S, "+inf"))
        if not days:
            return []
        tables = await self._redis.ask(*(("HGETALL", f"{self._prefix}counts:{int(day)}") for day in days))
        return [count for table in tables for bucket, count in map(_count, table.items()) if bucket >= first]

    async def mark_exported(self, position: int) -> None:
        """See EventLog."""
        await self._redis.ask(("EVAL", MARK_EXPORTED, 1, self._stream, self._prefix, position), *self._durably())

    async def check(self) -> None:
        """InputError where Redis is set up so that it may lose events; one that is away is told and not waited for."""
        try:
            ((persistence, memory),) = [await self._redis.ask(("INFO", "persistence"), ("INFO", "memory"))]
        except LogUnavailable as error:
            log.warning("the event log's Redis is away", error=error.detail)
            return
        found = [
            *(["appendonly is off"] if not int(persistence.get("aof_enabled", 0)) else []),
            *([f"maxmemory-policy is {policy}"] if (policy := memory.get("maxmemory_policy")) != SAFE_POLICY else []),
        ]
        if found and self._settings.event_log_safe:
            raise InputError(
                f"RECO_EVENT_LOG=redis: this Redis may lose events: {', '.join(found)}; expected appendonly yes and "
                f"{SAFE_POLICY}, or RECO_EVENT_LOG_SAFE=false"
            )
        if found:
            log.error("THE EVENT LOG MAY LOSE EVENTS", found=found)

    async def close(self) -> None:
        """Write what waits, then close the connections."""
        await self._commits.close()
        if self._reader is not None:
            await asyncio.wait((self._reader,))
        await self._redis.close()

    async def _write(self, events: list[Event]) -> list[str]:
        head = (self._stream, self._prefix, self._clock(), self._ttl, self._settings.events_per_user)
        scripts = [
            ("EVAL", APPEND, 1, *head, *(value for event in some for value in _arguments(event)))
            for some in _chunks(events, SCRIPT_EVENTS)
        ]
        replies = await self._acknowledged(*scripts, *self._durably())
        places = [start * SCRIPT_EVENTS + place for start, new in enumerate(replies) for place in new]
        return [events[place].event_id for place in places]

    async def _acknowledged(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The scripts' replies, once what they wrote is durable. Tried again while a new master is being made.

        That costs nothing twice: events are known by their ids. Who comes when the log has been away for as long as a
        write may take gets one try, so that those who wait do not take the places of those who only read.
        """
        patience = self._settings.event_log_timeout_s
        while True:
            now = time.monotonic()
            left = patience if self._away_since is None else self._away_since + patience - now
            try:
                replies = await self._redis.ask(*commands, seconds=left if left > 0 else patience)
            except LogUnavailable:
                self._away_since = self._away_since or now
                await self._redis.leave()
                if time.monotonic() + AGAIN_S > self._away_since + patience:
                    raise
                await asyncio.sleep(AGAIN_S)
                continue
            self._away_since = None
            if self._durably():
                await self._require_durable(replies.pop())
            return replies

    def _durably(self) -> list[tuple[Any, ...]]:
        safe, replicas = int(self._settings.event_log_safe), self._settings.event_log_replicas
        wait_ms = round(self._settings.event_log_timeout_s * 900)  # shorter than ours, so that it says what it lacks
        return [("WAITAOF", safe, replicas, wait_ms)] if safe or replicas else []

    async def _require_durable(self, synced: Sequence[int]) -> None:
        expected = [int(self._settings.event_log_safe), self._settings.event_log_replicas]
        if any(found < least for found, least in zip(synced, expected, strict=True)):
            await self._redis.leave()  # a master that nobody follows any longer acknowledges nothing ever
            raise LogUnavailable(f"events were synced by {list(synced)} (local, replicas), expected {expected}")

    async def _tidy(self) -> None:
        """Remove some old events that were exported, now and then; more of them after the next write."""
        now, settings = self._clock(), self._settings
        if abs(now - self._tidy_at) < TIDY_EVERY_S:  # a clock that jumps back must not stop it for long
            return
        oldest = now - settings.event_retention_days * DAY_S
        try:
            (removed,) = await self._redis.ask(
                ("EVAL", TIDY, 1, self._stream, self._prefix, oldest, settings.events_kept, TIDY_ENTRIES)
            )
        except LogUnavailable:
            return  # told already; the next write will tell again
        if removed < TIDY_ENTRIES:
            self._tidy_at = now

    async def _read_lists(self) -> None:
        batch: dict[str, asyncio.Future[list[Event]]] = {}
        try:
            while self._wanted:
                await asyncio.sleep(0)  # whoever asks in this turn of the loop shares the round trip
                batch, self._wanted = self._wanted, {}
                commands = [("LRANGE", f"{self._prefix}user:{user_id}", 0, -1) for user_id in batch]
                try:
                    lists = await self._redis.ask(*commands, seconds=self._settings.redis_budget_ms / 1000, apart=True)
                except LogUnavailable as error:
                    self._circuit.failed()
                    _fail(batch, error)
                    continue
                self._circuit.succeeded()
                for future, entries in zip(batch.values(), lists, strict=True):
                    _settle(future, entries)
        finally:
            self._reader = None
            _fail(batch | self._wanted, LogUnavailable("the event log is closing or has failed"))


def _prefix(settings: Settings) -> str:
    """Of all keys of the log; what stands in braces decides where a cluster holds them."""
    return f"{{{settings.namespace}:events}}:"


def stream_of(settings: Settings) -> str:
    """The key of the stream."""
    return _prefix(settings) + "stream"


def _fail(waiting: dict[str, "asyncio.Future[list[Event]]"], error: LogUnavailable) -> None:
    for future in waiting.values():
        _refuse(future, error)
    waiting.clear()


def _settle(future: "asyncio.Future[list[Event]]", entries: Any) -> None:
    """What stands under one user's key spoils no other user's answer."""
    try:
        if isinstance(entries, Exception):
            raise entries
        future.set_result([_event(entry) for entry in entries])
    except (RedisError, ValueError) as error:
        _refuse(future, LogUnavailable(f"what stands where the user's events were is none: {error}"))


def _refuse(future: "asyncio.Future[list[Event]]", error: LogUnavailable) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # looked at: a request that was cancelled leaves nobody to do it


def _chunks(events: Sequence[Event], size: int) -> Iterator[Sequence[Event]]:
    return (events[start : start + size] for start in range(0, len(events), size))


def _arguments(event: Event) -> tuple[Any, ...]:
    """Nine arguments of the script."""
    is_shown, is_click = event.kind == IMPRESSION, event.kind == CLICK
    return (
        event.event_id,
        event.model_dump_json(exclude_defaults=True),
        event.user_id if event.kind in PROFILE else "",
        (event.request_id or "") if is_shown or is_click else "",
        bucket_of(event.timestamp),
        event.bundle or "",
        kind_label(event.kind),
        int(event.value) if is_shown else 0,
        int(is_click),
    )


def _event(data: bytes) -> Event:
    return Event.model_validate_json(data)


def _decoded(entries: Sequence[Any]) -> list[tuple[int, Event]]:
    return [(_position(entry), _event(entry[1][b"event"])) for entry in entries]


def _position(entry: tuple[bytes, Any]) -> int:
    return int(entry[0].partition(b"-")[0])


def _count(field: tuple[bytes, bytes]) -> tuple[int, Count]:
    bucket, name, bundle = field[0].decode().split(":", 2)
    return int(bucket), Count(bundle, name, int(field[1]))


def open_stream(settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> StreamLog:
    """The log on the Redis of the settings."""
    if settings.redis_url is None:
        raise InputError("RECO_EVENT_LOG=redis: expected RECO_REDIS_URL to be set")
    client = connect(settings.redis_url.get_secret_value())
    redis = StreamClient(client, stream_of(settings), settings.event_log_timeout_s)
    return StreamLog(redis, settings, metrics, clock)
