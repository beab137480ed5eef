"""Opens and closes the item store that the settings choose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.items.redis_store import RedisItems, open_redis_items
from service.items.sqlite_store import SqliteItems
from service.items.store import ItemStore
from service.settings import ItemSettings
from service.telemetry.metrics import ItemMetrics, Metrics

FILE = "items.sqlite"
MOST_WAITING = 20_000  # items that wait to be written; further ones are refused (429)


@asynccontextmanager
async def open_store(settings: ItemSettings, metrics: ItemMetrics) -> AsyncIterator[ItemStore]:
    """The store, closed at the end; InputError where it is unusable."""
    store: SqliteItems | RedisItems
    if settings.event_log == "sqlite":
        store = SqliteItems(settings.data_folder / FILE, metrics, most_waiting=MOST_WAITING)
    else:
        store = open_redis_items(settings, metrics, most_waiting=MOST_WAITING)
    try:
        if isinstance(store, RedisItems):
            await store.check()
        yield store
    finally:
        await store.close()


def check_store(settings: ItemSettings) -> None:
    """Check before the start that the store can be opened; InputError where it cannot."""

    async def check() -> None:
        async with open_store(settings, Metrics()):
            pass

    asyncio.run(check())
