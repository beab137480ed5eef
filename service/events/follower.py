"""Reads the log's new events again and again, wherever they were accepted: no event is missed for longer than that.

Signals between replicas are quicker, but a signal can be lost: its sender killed, its connection cut. What is read
from the log itself needs nobody's word.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from service.events.event import Event
from service.events.freshness import EventFreshness
from service.events.log import EventLog, LogUnavailable
from service.redis.client import FAILURES, within
from service.telemetry.metrics import Metrics

PAGE = 1_000
READ_S = 2.0  # for a page; with the pause between looks, the longest that unheard events go unnoticed

log = structlog.get_logger()


class EventFollower:
    """Follows one log from about `since` (unix seconds) on, and says by `trust.hears` whether it is up to date.

    `on_events` gets every event once, in order; `on_loss` is called when the log turns out to be another, shorter one.
    """

    def __init__(
        self,
        log: EventLog,
        freshness: EventFreshness,
        metrics: Metrics,
        *,
        since: float,
        poll_s: float,
        on_events: Callable[[Sequence[Event]], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._log = log
        self._trust = freshness
        self._since = since
        self._poll_s = poll_s
        self._on_events = on_events
        self._on_loss = on_loss
        self._position: int | None = None
        self._polls = {name: metrics.live_polls.labels(name) for name in ("done", "error")}
        self._hears = metrics.live_hears

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._poll_s)

    async def poll(self) -> None:
        """Read all that is new, or find that it cannot be read now."""
        try:
            while await self._page():
                await asyncio.sleep(0)
        except (LogUnavailable, *FAILURES) as error:
            if self._trust.follows_events:
                log.warning("new events cannot be read", error=repr(error)[:200])
            self._told(follows_events=False)
            return
        self._told(follows_events=True)

    def _told(self, *, follows_events: bool) -> None:
        self._trust.follows_events = follows_events
        self._hears.set(follows_events)
        self._polls["done" if follows_events else "error"].inc()

    async def _page(self) -> bool:
        """Read one page; whether there may be more."""
        if self._position is None:
            self._position = await self._position_at(self._since)
        found = await within(self._log.read(self._position, PAGE), READ_S)
        if found:
            self._position = found[-1][0]
            self._on_events([event for _, event in found])
        elif await within(self._log.last_position(), READ_S) < self._position:
            self._position = 0
            self._on_loss()
            return True
        return len(found) == PAGE

    async def _position_at(self, since: float) -> int:
        """The position before the first event that is as young, by bisection: callers' clocks agree by and large."""
        low, high = 0, await within(self._log.last_position(), READ_S)
        while low < high:
            middle = (low + high) // 2
            found = await within(self._log.read(middle, 1), READ_S)
            if found and found[0][1].timestamp < since:
                low = middle + 1
            else:
                high = middle
        return low
