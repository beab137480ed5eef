"""Accepts events: checks them, completes them, appends them to the log and notifies listeners."""

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from service.background import start_worker
from service.errors import InvalidRequestError, ServiceError
from service.events.event import AS_BOUGHT, EXPLORED_ID, IMPRESSION, MOST_PAID, Event, GivenEvent, completed
from service.events.kinds import event_kinds
from service.events.known_bundles import KnownBundles
from service.events.log import Appended, EventLog
from service.settings import Settings
from service.telemetry.metrics import Metrics

Listener = Callable[[Sequence[Event]], None]

FLUSH_S = 0.05  # how long the service's own impressions gather before a write
SLICE = 100  # events that are completed in one go, in about a millisecond
ID_BYTES = 16  # of the ids of events that come without one
CLOSE_S = 2.0  # how long pending impressions may take when the service stops

log = structlog.get_logger()


class EventIntake:
    """Takes events into the log; calls `listeners` in the event loop with the new events once they are durable.

    The settings are those of events, and the limit of ids from HTTP.
    """

    def __init__(
        self, log: EventLog, settings: Settings, metrics: Metrics, clock: Callable[[], float], known: KnownBundles
    ) -> None:
        self.log = log
        self.listeners: list[Listener] = []
        self.kinds = event_kinds(settings)
        self._names = frozenset(self.kinds.names)
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self.known_bundles = known
        self.arm_of: Callable[[str], str | None] | None = None  # the label of the user's arm; None: in none
        self._impressions: list[Event] = []
        self._flusher: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    async def accept(self, given: Sequence[GivenEvent]) -> Appended:
        """Append all events or none.

        InvalidRequestError where an event breaks a limit; Overloaded and LogUnavailable as for EventLog.append.
        """
        if len(given) > self._settings.events_max_batch:
            raise InvalidRequestError(f"body: has {len(given)} events, the limit is {self._settings.events_max_batch}")
        now = self._clock()
        drawn = secrets.token_bytes(ID_BYTES * len(given))  # at once: each draw is a system call
        ids = (drawn[start : start + ID_BYTES].hex() for start in range(0, len(drawn), ID_BYTES))
        events: list[Event] = []
        for i, (event, new_id) in enumerate(zip(given, ids, strict=True)):
            if i and not i % SLICE:
                await asyncio.sleep(0)  # lets other requests go on
            events.append(self._completed(event, i, now, new_id))
        appended = await self._append(events)
        for listener in self.listeners:
            listener(appended.new)
        return appended

    def record_impression(
        self,
        request_id: str,
        user_id: str,
        bundle: str,
        items: Sequence[str],
        explored: Sequence[str] = (),
        *,
        arm: str | None = None,
    ) -> None:
        """Queue an impression of a response with these items, and one of those explored; the request waits for none.

        `arm` is the one that the response counts for; None: it counts for none, whatever `arm_of` says of the user.
        They are less durable than a caller's event: where too many wait they are dropped and counted.
        """
        for id_prefix, shown in (("shown:", items), (EXPLORED_ID, explored)):
            if shown:
                self._queue_impression(id_prefix, request_id, user_id, bundle, shown, arm=arm)

    def _queue_impression(
        self, id_prefix: str, request_id: str, user_id: str, bundle: str, items: Sequence[str], *, arm: str | None
    ) -> None:
        if len(self._impressions) >= self._settings.events_waiting:
            self._metrics.impressions_dropped.inc()
            return
        shown = Event(
            event_id=f"{id_prefix}{request_id}:{_digest(items)}",  # several requests may have one request id
            user_id=user_id,
            request_id=request_id,
            bundle=bundle,
            arm=arm,
            kind=IMPRESSION,
            items=list(items),
            value=len(items),
            timestamp=self._clock(),
        )
        self._impressions.append(shown)
        if self._flusher is None:
            self._flusher = start_worker(self._metrics, "impressions", self._flush())

    def _completed(self, given: GivenEvent, i: int, now: float, new_id: str) -> Event:
        """The event with an id, a timestamp and an arm; InvalidRequestError where it breaks a limit."""
        longest = self._settings.id_max_chars
        for name, value in (("user_id", given.user_id), ("item_id", given.item_id)):
            if len(value) > longest:
                raise InvalidRequestError(
                    f"body: event {i}: {name} has {len(value)} characters, the limit is {longest}"
                )
        timestamp = now if given.timestamp is None else given.timestamp
        if timestamp > now + self._settings.event_future_s:
            ahead = timestamp - now
            raise InvalidRequestError(
                f"body: event {i}: timestamp is {ahead:.0f} s ahead of our clock, "
                f"the limit is {self._settings.event_future_s:.0f} s; expected unix seconds"
            )
        added = {"event_id": given.event_id or new_id, "timestamp": timestamp}
        if self.arm_of is not None and given.user_id:
            added["arm"] = self.arm_of(given.user_id)
        event = completed(given, added)
        self._check_kind(event, i)
        return event

    def _check_kind(self, event: Event, i: int) -> None:
        """InvalidRequestError where the kind is unknown, or a conversion paid more than can be summed."""
        if event.kind not in self._names:
            raise InvalidRequestError(
                f"body: event {i}: kind is {event.kind!r}, expected one of {', '.join(self.kinds.names)}"
            )
        if self.kinds.role(event.kind) == AS_BOUGHT and not abs(event.value * (event.quantity or 1)) <= MOST_PAID:
            raise InvalidRequestError(f"body: event {i}: value times quantity is beyond {MOST_PAID:.0f}")

    def drop_impressions(self, is_of: Callable[[str], bool]) -> None:
        """Drop the queued impressions of these users."""
        self._impressions = [event for event in self._impressions if not is_of(event.user_id)]

    async def _append(self, events: Sequence[Event]) -> Appended:
        await self.known_bundles.learn({event.bundle for event in events})
        try:
            appended = await self.log.append(events)
        except ServiceError as error:
            self._metrics.events_refused.labels(error.code).inc(len(events))
            raise
        for kind, n in Counter(event.kind for event in appended.new).items():
            self._metrics.events.labels(kind).inc(n)
        self._metrics.events_known.inc(appended.n_known)
        return appended

    async def _flush(self) -> None:
        try:
            while self._impressions:
                await asyncio.sleep(FLUSH_S)
                batch = self._impressions[: self._settings.events_max_batch]
                self._impressions = self._impressions[len(batch) :]
                try:
                    await self._append(batch)
                except ServiceError as error:
                    self._metrics.impressions_dropped.inc(len(batch))
                    log.warning("impressions dropped", n=len(batch), error=error.detail)
                except BaseException:
                    self._metrics.impressions_dropped.inc(len(batch))
                    raise
        finally:
            self._flusher = None

    async def close(self) -> None:
        """Wait up to CLOSE_S for pending impressions."""
        if self._flusher is not None:
            await asyncio.wait((self._flusher,), timeout=CLOSE_S)


def _digest(items: Sequence[str]) -> str:
    return hashlib.blake2b("\0".join(items).encode(), digest_size=8).hexdigest()
