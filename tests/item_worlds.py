"""Intakes of items with their stores and followers, without HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index.bundle import Bundle
from service.events.intake import EventIntake
from service.events.open_log import open_intake
from service.items.intake import ItemIntake
from service.items.item import GivenItem, ItemChange
from service.items.open_items import following, open_items
from service.live import open_live
from service.settings import Settings
from service.telemetry.metrics import Metrics


@dataclass
class Replica:
    """One process, and the changes that its listeners were told of."""

    items: ItemIntake
    metrics: Metrics
    settings: Settings
    told: list[ItemChange] = field(default_factory=list)

    async def put(self, item_id: str, **fields: Any) -> int:
        return (await self.items.put({item_id: GivenItem.model_validate(fields)})).position

    def newest(self) -> dict[str, int]:
        """By item the position that it was told of last."""
        return {change.item_id: change.position for change in self.told}


@asynccontextmanager
async def replica(bundle: Bundle, folder: Path, **changes: Any) -> AsyncIterator[Replica]:
    """A replica that follows the store; of several over Redis each hears the others' messages."""
    settings, metrics = Settings(registry=folder, data=folder, **changes), Metrics()
    async with AsyncExitStack() as stack:
        feedback: EventIntake = await stack.enter_async_context(open_intake(settings, metrics))
        live = await stack.enter_async_context(open_live(settings, metrics, feedback, lambda: None))
        opened = open_items(settings, metrics, lambda: bundle, pubsub=live.pubsub, clock=lambda: 5.0)
        items = await stack.enter_async_context(opened)
        one = Replica(items, metrics, settings)
        items.follower.listeners.append(one.told.extend)
        await stack.enter_async_context(following(items, metrics))
        if live.pubsub is not None:
            async with asyncio.timeout(60):
                while not live.pubsub.listening:
                    await asyncio.sleep(0.005)
        yield one
