"""What comes in: checked, stamped, made durable, and then told to whoever in this process lives by it."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import Context

import structlog

from service.errors import InvalidRequestError, ServiceError
from service.events.event import IMPRESSION, Event, GivenEvent, kind_label
from service.events.log import Appended, EventLog
from service.settings import Settings
from service.telemetry.metrics import Metrics

Listener = Callable[[Sequence[Event]], None]

FLUSH_S = 0.05  # impressions of our own gather for so long; nobody waits for them
CLOSE_S = 2.0  # how long those still waiting may take when the service ends

log = structlog.get_logger()


class Feedback:
    """The way into the log. `listeners` are called in the event loop with the events that were new, once durable."""

    def __init__(self, log: EventLog, settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.log = log
        self.listeners: list[Listener] = []
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._shown: list[Event] = []
        self._flusher: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    async def take(self, given: Sequence[GivenEvent]) -> Appended:
        """Accept all events or none.

        InvalidRequestError where one breaks a limit; Overloaded and LogUnavailable as the log raises them.
        """
        if len(given) > self._settings.events_max_batch:
            raise InvalidRequestError(f"body: has {len(given)} events, the limit is {self._settings.events_max_batch}")
        now = self._clock()
        appended = await self._append([self._stamped(event, i, now) for i, event in enumerate(given)])
        for listener in self.listeners:
            listener(appended.new)
        return appended

    def shown(self, request_id: str, user_id: str, bundle: str, n_items: int) -> None:
        """Note that an answer was given, without the request waiting for it.

        Not promised as a caller's events are: where too many wait they are dropped and counted.
        """
        if not n_items:
            return
        if len(self._shown) >= self._settings.events_waiting:
            self._metrics.impressions_dropped.inc()
            return
        made = {"event_id": f"shown:{request_id}", "user_id": user_id, "request_id": request_id, "bundle": bundle}
        self._shown.append(Event(**made, kind=IMPRESSION, value=n_items, timestamp=self._clock()))
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush(), context=Context())

    def _stamped(self, given: GivenEvent, i: int, now: float) -> Event:
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
        stamp = {"event_id": given.event_id or secrets.token_hex(16), "timestamp": timestamp}
        return Event.model_construct(**(given.__dict__ | stamp))

    async def _append(self, events: Sequence[Event]) -> Appended:
        try:
            appended = await self.log.append(events)
        except ServiceError as error:
            self._metrics.events_refused.labels(error.code).inc(len(events))
            raise
        for kind, n in Counter(kind_label(event.kind) for event in appended.new).items():
            self._metrics.events.labels(kind).inc(n)
        self._metrics.events_known.inc(appended.n_known)
        return appended

    async def _flush(self) -> None:
        try:
            while self._shown:
                await asyncio.sleep(FLUSH_S)
                batch = self._shown[: self._settings.events_max_batch]
                del self._shown[: len(batch)]
                try:
                    await self._append(batch)
                except ServiceError as error:
                    self._metrics.impressions_dropped.inc(len(batch))
                    log.warning("impressions dropped", n=len(batch), error=error.detail)
        finally:
            self._flusher = None

    async def close(self) -> None:
        """Let our own impressions reach the log, for a moment."""
        if self._flusher is not None:
            await asyncio.wait((self._flusher,), timeout=CLOSE_S)
