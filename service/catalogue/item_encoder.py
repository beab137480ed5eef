"""What makes features of raw texts and pictures, as the catalogue uses it (service/encoding/encoder.py)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from index.bundle import Bundle
from index.manifest import Modality
from service.encoding.encoder import ItemProblem
from service.items.item import Item


class Encoder(Protocol):
    """Makes features of items by the encoders of one bundle."""

    problems: dict[str, ItemProblem]  # by item id: why an item lacks features

    def due(self) -> list[str]:
        """The ids of items that lack features for a reason that may have passed."""
        ...

    def forget(self, item_ids: Sequence[str]) -> None:
        """Drop the problems of items that are gone."""
        ...

    async def encode(self, items: Sequence[Item]) -> Sequence[Mapping[Modality, list[float]]]:
        """The features of each item that its raw content gives."""
        ...


EncoderFor = Callable[[Bundle], Encoder | None]


def no_encoder(_: Bundle) -> None:
    """New items need ready features."""
