"""Follows the item store: every change reaches this process within a second, whichever process wrote it.

Other replicas send a message, other workers of this machine ask, and both may be lost: the store is polled, too.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from service.items.item import ItemChange
from service.items.store import ItemStore, ItemsUnavailable
from service.redis.client import FAILURES, within
from service.redis.pubsub import PubSub
from service.telemetry.metrics import ItemMetrics
from service.workers.siblings import Siblings

Listener = Callable[[Sequence[ItemChange]], None]

ITEMS_CHANGED = "items"  # the kind of message that makes others poll
PAGE = 500
READ_S = 5.0  # for a page
SIBLINGS_S = 1.0  # a change waits so long until the other workers have applied it

log = structlog.get_logger()


class ItemFollower:
    """Calls `listeners` in the event loop with each change once, an item's changes in their order.

    Changes that this process wrote come at once, before their response, others when they are read. `on_reset` are
    called where the store lost changes, before all of its items come again.
    """

    def __init__(
        self, store: ItemStore, metrics: ItemMetrics, *, poll_s: float, pubsub: PubSub | None, siblings: Siblings | None
    ) -> None:
        self.listeners: list[Listener] = []
        self.on_reset: list[Callable[[], None]] = []
        self.position = 0  # of the last change that was read; all before it are known
        self.follows = False  # whether the last poll could read the store
        self._store = store
        self._metrics = metrics
        self._poll_s = poll_s
        self._pubsub = pubsub
        self._siblings = siblings
        self._ahead: dict[str, int] = {}  # positions of changes that were delivered before they were read
        self._polling = asyncio.Lock()
        self._wake = asyncio.Event()
        self._telling = asyncio.Lock()
        self._told = 0  # the other workers know the changes up to this position
        self._newest = 0  # position of those that this process wrote
        if pubsub is not None:
            pubsub.handlers[ITEMS_CHANGED] = lambda _: self._wake.set()
        if siblings is not None:
            siblings.handlers[ITEMS_CHANGED] = self._answer

    async def accept(self, changes: Sequence[ItemChange]) -> None:
        """Deliver changes that this process wrote, and tell the others."""
        if not changes:
            return
        self._deliver(changes)
        for change in changes:
            if change.position > self.position:
                self._ahead[change.item_id] = max(change.position, self._ahead.get(change.item_id, 0))
        newest = max(change.position for change in changes)
        if self._pubsub is not None and newest > self._newest:  # not of items that were sent again unchanged
            self._pubsub.send(ITEMS_CHANGED, [ITEMS_CHANGED])
        self._newest = max(self._newest, newest)
        if self._siblings is not None:
            await self._tell(self._siblings, newest)

    async def _tell(self, siblings: Siblings, position: int) -> None:
        """Ask the other workers to read the changes; one question is for all that were written before it."""
        async with self._telling:
            if self._told < position:
                newest = self._newest
                await siblings.ask(ITEMS_CHANGED, within_s=SIBLINGS_S)
                self._told = newest

    async def _answer(self, _: list[str]) -> bytes:
        await self.poll()
        return b""

    async def run(self) -> None:
        """Poll at intervals and after each message, until cancelled."""
        while True:
            await self.poll()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._poll_s)
            self._wake.clear()

    async def poll(self) -> None:
        """Read all new changes; where the store cannot be read now, the next poll reads them."""
        async with self._polling:
            try:
                while await self._read_page():
                    await asyncio.sleep(0)
                self._metrics.items_stored.set(await within(self._store.count(), READ_S))
            except (ItemsUnavailable, *FAILURES) as error:
                if self.follows:
                    log.warning("changes of items cannot be read", error=repr(error)[:200])
                self._record_poll(succeeded=False)
                return
        self._record_poll(succeeded=True)

    def _record_poll(self, *, succeeded: bool) -> None:
        self.follows = succeeded
        self._metrics.item_polls.labels("done" if succeeded else "error").inc()

    async def _read_page(self) -> bool:
        """Read one page, and return whether there may be more."""
        page = await within(self._store.changes(self.position, PAGE), READ_S)
        if page:
            self._deliver(page)
            self.position = page[-1].position
            self._ahead = {item_id: at for item_id, at in self._ahead.items() if at > self.position}
        elif await within(self._store.last_position(), READ_S) < self.position:
            self._reset()
            return True
        return len(page) == PAGE

    def _deliver(self, changes: Sequence[ItemChange]) -> None:
        """Call the listeners with the changes that they do not know, nor newer ones of the same items."""
        new = [one for one in changes if one.position > max(self.position, self._ahead.get(one.item_id, 0))]
        if new:
            for listener in self.listeners:
                listener(new)

    def _reset(self) -> None:
        log.error("the item store has lost changes; all of its items are read again", known=self.position)
        self.position = self._told = self._newest = 0
        self._ahead.clear()
        for callback in self.on_reset:
            callback()
