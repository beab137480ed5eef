"""Opens the item store with what takes items into it and what follows it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from index.bundle import Bundle
from service.background import supervised
from service.items.following import ItemFollower
from service.items.intake import ItemIntake
from service.items.open_store import open_store
from service.items.trained import TrainedItems
from service.items.untrained import UntrainedItems
from service.redis.pubsub import PubSub
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.workers.siblings import Siblings


@asynccontextmanager
async def open_items(
    settings: Settings,
    metrics: Metrics,
    bundle: Callable[[], Bundle],
    *,
    pubsub: PubSub | None = None,
    siblings: Siblings | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[ItemIntake]:
    """The intake of items; `bundle` gives the one that serves. `following` keeps its follower running."""
    trained = TrainedItems(bundle)
    shared = pubsub if settings.event_log == "redis" else None
    async with open_store(settings, metrics) as store:
        follower = ItemFollower(store, metrics, poll_s=settings.live_poll_s, pubsub=shared, siblings=siblings)
        untrained = UntrainedItems(store, trained, metrics, most=settings.live_items_max)
        follower.listeners.append(untrained.follow)
        follower.on_reset.append(untrained.clear)
        yield ItemIntake(store, follower, trained, untrained, metrics=metrics, clock=clock)


@asynccontextmanager
async def following(items: ItemIntake, metrics: Metrics) -> AsyncIterator[None]:
    """Read all stored items, then follow their changes until the end. Listeners are attached before."""
    await items.follower.poll()
    async with supervised(metrics, {"item_follower": items.follower.run, "untrained_items": items.untrained.run}):
        yield
