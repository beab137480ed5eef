"""The stored items that training has not seen, of which only so many are allowed."""

import asyncio
from collections.abc import Sequence

from service.errors import ServiceError
from service.items.item import ItemChange
from service.items.store import ItemStore
from service.items.trained import TrainedItems
from service.telemetry.metrics import ItemMetrics

PAGE = 500


class TooManyItemsError(ServiceError):
    """More items would be stored than the service holds beside those of training; nothing was written."""

    status = 507
    code = "too_many_items"


class UntrainedItems:
    """Counts them; another replica's may be counted a moment later, and the limit be passed by as many."""

    def __init__(self, store: ItemStore, trained: TrainedItems, metrics: ItemMetrics, *, most: int) -> None:
        self._store = store
        self._trained = trained
        self._gauge = metrics.items_untrained
        self._most = most
        self.ids: set[str] = set()
        self._swapped = asyncio.Event()

    def follow(self, changes: Sequence[ItemChange]) -> None:
        """A listener of changes."""
        for change in changes:
            if change.item is not None and self._trained.row(change.item_id) is None:
                self.ids.add(change.item_id)
            else:
                self.ids.discard(change.item_id)
        self._gauge.set(len(self.ids))

    def clear(self) -> None:
        self.ids.clear()

    def check(self, item_ids: Sequence[str]) -> None:
        """TooManyItemsError where the limit does not allow to put these items, too."""
        new = [one for one in item_ids if one not in self.ids and self._trained.row(one) is None]
        if new and len(self.ids) + len(new) > self._most:
            raise TooManyItemsError(
                f"{len(self.ids)} stored items are unknown to training, and {len(new)} more would pass the limit of "
                f"{self._most} (RECO_LIVE_ITEMS_MAX); retrain, so that the next bundle knows them, or delete some"
            )

    def recount_soon(self) -> None:
        """Another bundle serves: count again which items it lacks."""
        self._swapped.set()

    async def run(self) -> None:
        """Recount after each swap, until cancelled."""
        while True:
            await self._swapped.wait()
            self._swapped.clear()
            await self._recount()

    async def _recount(self) -> None:
        position, more = 0, True
        while more:
            page = await self._store.changes(position, PAGE)
            self.follow(page)
            position, more = (page[-1].position, len(page) == PAGE) if page else (position, False)
            await asyncio.sleep(0)
