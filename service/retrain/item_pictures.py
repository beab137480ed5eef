"""What a training gets of the pictures that stored items name: their folder, and features of those at URLs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from index.errors import InputError
from index.manifest import EncoderInfo
from index.registry import Registry
from service.encoding.encoding import Encoding
from service.items.export import EncodedPicture
from service.items.item import Item


class ItemPictures:
    """The pictures of stored items, as the service reads them. `images` is the setting of that name."""

    def __init__(self, encoding: Encoding, registry: Registry, images: str | None) -> None:
        self._encoding, self._registry, self._images = encoding, registry, images

    @property
    def arguments(self) -> list[str]:
        """The trainer's arguments for pictures in a folder."""
        if self._images is None or "://" in self._images:
            return []
        return ["--images", str(Path(self._images).absolute())]

    async def __call__(self, items: Sequence[Item]) -> list[EncodedPicture | None]:
        """The features of pictures at URLs, which training does not fetch, where this service has encoded them."""
        encoder = await asyncio.to_thread(self._encoder)
        if encoder is None:
            return [None] * len(items)
        keys = [await self._encoding.pictures.known_key(item.image) if item.image else None for item in items]
        wanted = [key for key in keys if key is not None]
        rows = await self._encoding.cache.features(bytes.fromhex(encoder.digest), wanted, encoder.width)
        found = [rows.get(key) if key is not None else None for key in keys]
        name = f"{encoder.name} {encoder.version}"
        return [None if row is None else EncodedPicture(name, row.tolist()) for row in found]

    def _encoder(self) -> EncoderInfo | None:
        """The image encoder of the bundle that serves; a bundle that cannot be read does not stop a training."""
        try:
            current = self._registry.current_id()
            return None if current is None else self._registry.manifest(current).encoders.get("image")
        except InputError:
            return None
