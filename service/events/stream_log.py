"""The event log of several replicas: a Redis Stream; events are acknowledged once Redis has synced them to disk."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter

from service.background import start_worker
from service.events.arm_totals import ArmTotals
from service.events.arms import SUMS_KEPT_DAYS, counts_for_arm, person_of, totals_of
from service.events.event import AS_BOUGHT, AS_CLICKED, AS_SHOWN, FORGOTTEN, Event, forgotten_event
from service.events.kinds import BUILT_IN, EventKinds
from service.events.known_bundles import any_bundle
from service.events.log import Appended, EventCount, Forgotten, LogUnavailable
from service.events.stream_counts import decode_count, decode_moment, decode_sum
from service.events.stream_forgetting import forget_arguments
from service.events.stream_scripts import APPEND, ENDS, FORGET, MARK_EXPORTED, READ, TIDY
from service.events.window import DAY_S, FOREVER, Span, bucket_of, divided
from service.events.writes import NAMES, EventWrites
from service.redis.circuit_breaker import CircuitBreaker
from service.settings import EventSettings
from service.storage.redis_server import RedisServer, open_server
from service.telemetry.metrics import EventMetrics

T = TypeVar("T")

ITEMS = TypeAdapter(list[str])

DAY_DIGITS = 7  # of a day's number; a longer one is none of ours
TIDY_EVERY_S = 60.0
TIDY_ENTRIES = 1_000  # removed in one script, which blocks Redis
SCRIPT_EVENTS = 256  # added by one script, which blocks Redis for some milliseconds
PAGE = 5_000  # entries read together in a search for one user's
SCRIPT_ENTRIES = 500  # read by one script, for the same reason
EVENT_BYTES = 4 * 2**20  # a longer entry is none of ours, and is not sent to us
READ_BYTES = 16 * 2**20  # of the entries that one script returns, roughly
LAST_POSITION = 2**64 - 1  # of any stream
ROLES = {AS_SHOWN: "s", AS_CLICKED: "c", AS_BOUGHT: "b"}  # of an item in its answer, as it is stored


class StreamLog:
    """Sends waiting appends together, followed by one WAITAOF that waits for the disk.

    Without `event_log_safe` and replicas there is no WAITAOF. Reads of users' events share round trips within
    redis_budget_ms and behind a circuit breaker, like those of the vector cache.
    """

    def __init__(
        self,
        redis: RedisServer,
        settings: EventSettings,
        metrics: EventMetrics,
        clock: Callable[[], float],
        label: Callable[[str | None], str] = any_bundle,
        *,
        kinds: EventKinds = BUILT_IN,
    ) -> None:
        self._redis = redis
        self._kinds = kinds
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._label = label  # the name under which events that name a bundle are counted
        self._prefix = _prefix(settings)
        self._stream = stream_key(settings)
        self._append = redis.safely(APPEND)
        self._ttl = max(1, round(settings.event_retention_days * DAY_S))
        self._sums_ttl = max(self._ttl, SUMS_KEPT_DAYS * DAY_S)
        self._circuit = CircuitBreaker(
            failures=settings.redis_failures,
            retry_s=settings.redis_retry_s,
            clock=time.monotonic,
            rng=random.Random(),
            on_change=lambda _: None,
        )
        self._pending_reads: dict[str, asyncio.Future[list[Event]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._tidy_at = 0.0
        self._writes = EventWrites(self._write, self._tidy, metrics, most_waiting=settings.events_waiting)

    @property
    def problem(self) -> str | None:
        return self._writes.problem

    async def append(self, events: Sequence[Event]) -> Appended:
        return await self._writes.append(events)

    async def user_events(self, user_id: str) -> list[Event]:
        if user_id not in self._pending_reads:
            if not self._circuit.allows():
                raise LogUnavailable("the event log's Redis has failed and its circuit is open")
            self._pending_reads[user_id] = asyncio.get_running_loop().create_future()
            if self._reader is None:
                self._reader = start_worker(self._metrics, "event_reader", self._read_pending())
        return list(await asyncio.shield(self._pending_reads[user_id]))

    async def last_position(self) -> int:
        _, newest, _ = await self._ends()
        return _position(newest) if newest else 0

    async def count_since(self, position: int) -> int:
        oldest, newest, n = await self._ends()
        if not n:
            return 0
        # Our positions have no gaps, so both ends are enough; another program's entry may leave one.
        return min(n, max(0, _position(newest) - max(position, _position(oldest) - 1)))

    async def _ends(self) -> tuple[bytes, bytes, int]:
        ((oldest, newest, n),) = await self._redis.execute(("EVAL", ENDS, 1, self._stream))
        return oldest, newest, n

    async def read(self, after: int, limit: int) -> list[tuple[int, Event | None]]:
        found: list[tuple[int, Event | None]] = []
        more = True
        while more and len(found) < limit and after < LAST_POSITION:
            count = min(SCRIPT_ENTRIES, limit - len(found))
            command = ("EVAL", READ, 1, self._stream, f"{after + 1}-0", count, EVENT_BYTES, READ_BYTES)
            ((more, entries),) = await self._redis.execute(command)
            found += await asyncio.to_thread(self._decode_entries, entries)  # would block the event loop
            after = found[-1][0] if found else after
        return found

    async def counts_since(self, since: float, until: float = FOREVER) -> list[EventCount]:
        before, days, after = divided(since, until)
        of_days = ("ZRANGEBYSCORE", self._prefix + "days", days.first, f"({days.end}")
        (found,) = await self._read_derived(of_days)
        # Of whole days their sums, else the buckets: the answer does not grow with the window's length.
        whole = [int(day) for day in found or () if day.isdigit() and len(day) <= DAY_DIGITS]
        parts = [part for part in (before, after) if part.first < part.end]
        keys = [f"figures:{part.first // DAY_S}" for part in parts]
        keys += [f"sums:{day}" for day in whole if days.first <= day < days.end]
        if not keys:
            return []
        replies = await self._read_derived(*(("HGETALL", self._prefix + key) for key in keys))
        buckets = [(part, reply) for part, reply in zip(parts, replies, strict=False) if reply]
        return await asyncio.to_thread(self._decode_counts, buckets, [day for day in replies[len(parts) :] if day])

    async def arm_totals(self, labels: Sequence[str]) -> dict[str, ArmTotals]:
        commands = [("HGETALL", f"{self._prefix}arm_sums:{label}") for label in labels]
        found = await self._read_derived(*commands) if commands else ()
        sums = [dict(self._readable(decode_moment, fields or {})) for fields in found]
        return {label: totals_of(of_arm) for label, of_arm in zip(labels, sums, strict=True)}

    async def _read_derived(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies; None, counted, for a key of another type, until a write replaces it."""
        replies = await self._redis.execute(*commands, independent=True)
        for reply in replies:
            if isinstance(reply, Exception):
                self._metrics.unreadable.skip("events", reply)
        return [None if isinstance(reply, Exception) else reply for reply in replies]

    async def mark_exported(self, position: int) -> None:
        command = ("EVAL", MARK_EXPORTED, 1, self._stream, self._prefix, position)
        await self._redis.execute_durably(command)

    async def events_of(self, user_id: str) -> list[tuple[int, Event]]:
        found: list[tuple[int, Event]] = []
        after, last = 0, await self.last_position()
        while after < last:
            page = await self.read(after, PAGE)
            if not page:
                break
            after = page[-1][0]
            found += [(position, event) for position, event in page if event is not None and event.user_id == user_id]
        return found

    async def forget(self, user_id: str, until: int) -> Forgotten:
        of_user = await self.events_of(user_id)
        (listed,) = await self._read_derived(("LRANGE", f"{self._prefix}user:{user_id}", 0, -1))
        entries = [(entry, event) for entry in listed or () if (event := self._decode(entry)) is not None]
        in_place = forgotten_event(f"{FORGOTTEN}:{secrets.token_hex(16)}", self._clock()).model_dump_json()
        events = answers = 0
        for arguments in forget_arguments(of_user, entries, until, most=SCRIPT_EVENTS):
            fixed = (self._prefix, in_place, user_id, self._clock(), person_of(user_id))
            script = ("EVAL", FORGET, 1, self._stream, *fixed, *arguments)
            ((n_events, n_answers), *_) = await self._redis.execute_durably(script)
            events, answers = events + n_events, answers + n_answers
        return Forgotten(events, answers)

    async def wipe(self, text: str) -> None:
        """Nothing of it is on this machine; docs/people.md says what Redis still has of a removed entry."""

    async def check(self) -> None:
        """InputError where Redis may lose events, or refuses us; only a problem where it is unavailable."""
        self._writes.problem = await self._redis.check()

    async def close(self) -> None:
        """Write the queued events, then close the connections."""
        await self._writes.close()
        if self._reader is not None:
            await asyncio.wait((self._reader,))
        await self._redis.close()

    async def _write(self, events: list[Event]) -> list[str]:
        now = self._clock()
        oldest = now - self._ttl
        head = (self._stream, self._prefix, now, self._ttl, self._settings.events_per_user, self._sums_ttl)
        scripts = [
            ("EVAL", self._append, 1, *head, *(value for event in chunk for value in self._arguments(event, oldest)))
            for chunk in _chunks(events, SCRIPT_EVENTS)
        ]
        replies = await self._redis.execute_durably(*scripts)
        places = [start * SCRIPT_EVENTS + place for start, new in enumerate(replies) for place in new]
        return [events[place].event_id for place in places]

    def _arguments(self, event: Event, oldest: float) -> tuple[Any, ...]:
        """The arguments of one event to the APPEND script: twelve, and the items that it joins to its request id.

        Items and arm stand beside the event's JSON, which replicas of releases without them refuse with them.
        """
        known = self._kinds.role(event.kind)
        role = "" if known is None else ROLES[known]
        amount = {AS_SHOWN: int(event.value), AS_BOUGHT: event.paid}.get(known or "", 0)
        items = dict.fromkeys((event.item_id, *event.items) if event.item_id else event.items) if role else ()
        return (
            event.event_id,
            event.model_dump_json(exclude_defaults=True, exclude={"items", "arm"}),
            event.user_id if event.kind in self._kinds.in_profile else "",
            (event.request_id or "") if role else "",
            bucket_of(event.timestamp) if event.timestamp >= oldest else "",  # too old to be counted
            self._label(event.bundle),
            f"{event.kind}:{role}",
            amount,
            orjson.dumps(event.items) if event.items else "",
            event.arm or "",
            person_of(event.user_id) if counts_for_arm(event) else "",
            len(items),
            *items,
        )

    async def _tidy(self) -> None:
        """Remove some old exported events every TIDY_EVERY_S, and again after the next write while more remain."""
        now, settings = self._clock(), self._settings
        if abs(now - self._tidy_at) < TIDY_EVERY_S:  # abs: a clock that jumps back must not stop it for long
            return
        oldest = now - settings.event_retention_days * DAY_S
        try:
            (removed,) = await self._redis.execute(
                ("EVAL", TIDY, 1, self._stream, self._prefix, oldest, settings.events_kept, TIDY_ENTRIES)
            )
        except LogUnavailable:
            return  # logged already
        if removed < TIDY_ENTRIES:
            self._tidy_at = now

    async def _read_pending(self) -> None:
        """Read the events of all users that requests wait for, one round trip after another."""
        batch: dict[str, asyncio.Future[list[Event]]] = {}
        timeout_s = self._settings.redis_budget_ms / 1000
        try:
            while self._pending_reads:
                await asyncio.sleep(0)  # requests of this iteration of the loop share the round trip
                batch, self._pending_reads = self._pending_reads, {}
                newest = -self._settings.events_per_user
                commands = [("LRANGE", f"{self._prefix}user:{user_id}", newest, -1) for user_id in batch]
                try:
                    lists = await self._redis.execute(*commands, timeout_s=timeout_s, independent=True)
                except LogUnavailable as error:
                    self._circuit.failed()
                    _fail_all(batch, error)
                    continue
                self._circuit.succeeded()
                for future, entries in zip(batch.values(), lists, strict=True):
                    self._resolve(future, entries)
        finally:
            self._reader = None
            _fail_all(batch | self._pending_reads, LogUnavailable("the event log is closing or has failed"))

    def _resolve(self, future: "asyncio.Future[list[Event]]", entries: Any) -> None:
        """Set the events as the result; a key of another type fails only its own user."""
        if isinstance(entries, Exception):
            self._metrics.unreadable.skip("events", entries)
            _fail(future, LogUnavailable(f"the user's list of events in Redis is damaged: {entries}"))
        elif not future.done():
            future.set_result([event for entry in entries if (event := self._decode(entry)) is not None])

    def _decode_entries(self, entries: Sequence[tuple[bytes, ...]]) -> list[tuple[int, Event | None]]:
        return [(_position(entry_id), self._decode(*fields)) for entry_id, *fields in entries]

    def _decode(self, data: bytes, items: bytes = b"", arm: bytes = b"") -> Event | None:
        """The event, with the items and the arm that stand beside it; None, counted, where the data is none."""
        try:
            if not data:
                raise ValueError(f"expected a field `event` of at most {EVENT_BYTES} bytes")
            event = Event.model_validate_json(data)
            beside = {"items": ITEMS.validate_json(items)} if items else {}
            return event.model_copy(update=beside | ({"arm": arm.decode()} if arm else {}))
        except ValueError as error:
            self._metrics.unreadable.skip("events", error)
            return None

    def _decode_counts(
        self, buckets: Sequence[tuple[Span, dict[bytes, bytes]]], sums: Sequence[dict[bytes, bytes]]
    ) -> list[EventCount]:
        """The counts of the buckets that begin in these spans, and of whole days."""
        found = []
        for span, fields in buckets:
            found += [count for at, count in self._readable(decode_count, fields) if span.first <= at < span.end]
        for day in sums:
            found += self._readable(decode_sum, day)
        return found

    def _readable(self, decode: Callable[[tuple[bytes, bytes]], T], fields: dict[bytes, bytes]) -> Iterator[T]:
        """The fields that can be decoded; another program's are counted and skipped."""
        for field in fields.items():
            try:
                yield decode(field)
            except ValueError as error:
                self._metrics.unreadable.skip("events", error)


def _prefix(settings: EventSettings) -> str:
    """The prefix of the log's keys; the part in braces is the hash tag that decides their node in a cluster."""
    return f"{{{settings.namespace}:events}}:"


def stream_key(settings: EventSettings) -> str:
    """The key of the stream."""
    return _prefix(settings) + "stream"


def _fail_all(futures: dict[str, "asyncio.Future[list[Event]]"], error: LogUnavailable) -> None:
    for future in futures.values():
        _fail(future, error)
    futures.clear()


def _fail(future: "asyncio.Future[list[Event]]", error: LogUnavailable) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # marks it as retrieved, which a cancelled request does not


def _chunks(events: Sequence[Event], size: int) -> Iterator[Sequence[Event]]:
    return (events[start : start + size] for start in range(0, len(events), size))


def _position(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def open_stream(
    settings: EventSettings,
    metrics: EventMetrics,
    clock: Callable[[], float],
    label: Callable[[str | None], str] = any_bundle,
    *,
    kinds: EventKinds = BUILT_IN,
) -> StreamLog:
    """The log on the Redis that the settings name; InputError where they name none."""
    redis = open_server(settings, stream_key(settings), NAMES, metrics)
    return StreamLog(redis, settings, metrics, clock, label, kinds=kinds)
