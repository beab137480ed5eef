"""Polls the log for new events of all replicas, so that no event is missed for longer than a poll.

Messages between replicas arrive sooner but may be lost, when their sender is killed or a connection breaks.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from service.events.event import Event
from service.events.freshness import EventFreshness
from service.events.log import EventLog, LogUnavailable
from service.redis.client import FAILURES, within
from service.telemetry.metrics import UserMetrics

PAGE = 1_000
READ_S = 2.0  # for a page; this and the pause between polls bound how long an event may go unnoticed

log = structlog.get_logger()


class EventFollower:
    """Follows one log from about `since` (unix seconds) on, and sets `freshness.follows_events`.

    `on_events` receives every readable event once, in order; `on_loss` is called when some were missed: `on_events`
    failed, or the log was replaced by a shorter one.
    """

    def __init__(
        self,
        log: EventLog,
        freshness: EventFreshness,
        metrics: UserMetrics,
        *,
        since: float,
        poll_s: float,
        on_events: Callable[[Sequence[Event]], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._log = log
        self._freshness = freshness
        self._since = since
        self._poll_s = poll_s
        self._on_events = on_events
        self._on_loss = on_loss
        self._position: int | None = None
        self._polls = {name: metrics.live_polls.labels(name) for name in ("done", "error")}
        self._follows_gauge = metrics.live_hears

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            while True:
                await self.poll()
                await asyncio.sleep(self._poll_s)
        finally:
            self._set_follows(False)

    async def poll(self) -> None:
        """Read all new events, and record whether the log could be read."""
        try:
            while await self._read_page():
                await asyncio.sleep(0)
        except (LogUnavailable, *FAILURES) as error:
            if self._freshness.follows_events:
                log.warning("new events cannot be read", error=repr(error)[:200])
            self._record_poll(succeeded=False)
            return
        self._record_poll(succeeded=True)

    def _record_poll(self, *, succeeded: bool) -> None:
        self._set_follows(succeeded)
        self._polls["done" if succeeded else "error"].inc()

    def _set_follows(self, follows: bool) -> None:
        self._freshness.follows_events = follows
        self._follows_gauge.set(follows)

    async def _read_page(self) -> bool:
        """Read one page, and return whether there may be more."""
        if self._position is None:
            self._position = await self._position_before(self._since)
        page = await within(self._log.read(self._position, PAGE), READ_S)
        if page:
            self._position = page[-1][0]  # before the events are used: none may end every poll
            self._use([event for _, event in page if event is not None])
        elif await within(self._log.last_position(), READ_S) < self._position:
            self._position = 0
            self._on_loss()
            return True
        return len(page) == PAGE

    def _use(self, events: Sequence[Event]) -> None:
        try:
            self._on_events(events)
        except BaseException:
            self._on_loss()
            raise

    async def _position_before(self, since: float) -> int:
        """The position before the first event since that time, by bisection; callers' clocks roughly agree.

        An entry that cannot be read counts as recent.
        """
        low, high = 0, await within(self._log.last_position(), READ_S)
        while low < high:
            middle = (low + high) // 2
            found = await within(self._log.read(middle, 1), READ_S)
            event = found[0][1] if found else None
            if event is not None and event.timestamp < since:
                low = middle + 1
            else:
                high = middle
        return low
