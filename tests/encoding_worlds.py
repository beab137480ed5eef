"""An item encoder of tiny encoders (tiny_encoders.py), opened as the service opens one."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from index.manifest import EncoderInfo
from index.registry import Registry
from service.encoding.encoder import ItemEncoder
from service.encoding.encoding import Encoding, open_encoding
from service.items.item import Item
from service.settings import EncodingSettings
from service.telemetry.metrics import Metrics


class World:
    """An item encoder of the tiny encoders, in an event loop of its own."""

    def __init__(self, encoding: Encoding, encoders: dict[str, EncoderInfo], metrics: Metrics) -> None:
        self.encoding, self.encoder, self.metrics = encoding, ItemEncoder(encoding, encoders), metrics

    async def of(self, **fields: Any) -> dict[str, list[float]]:
        """The features of one item."""
        (found,) = await self.encoder.encode([item(**fields)])
        return {kind: [round(value, 3) for value in row] for kind, row in found.items()}

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def item(item_id: str = "new", **fields: Any) -> Item:
    return Item(item_id=item_id, created_at=0, updated_at=0, **fields)


def play(
    registry: Registry,
    encoders: dict[str, EncoderInfo],
    scene: Callable[[World], Awaitable[Any]],
    *,
    pictures: str | Path | None = None,
    **settings: Any,
) -> Any:
    """What `scene(world)` returns, with an encoder of these settings."""

    async def main() -> Any:
        metrics = Metrics()
        given = EncodingSettings(registry=registry.folder, **settings)
        async with open_encoding(given, pictures and str(pictures), registry, metrics) as encoding:
            return await scene(World(encoding, encoders, metrics))

    return asyncio.run(main())
