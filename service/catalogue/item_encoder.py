"""What makes features of raw texts and pictures, as the catalogue uses it (service/encoding/)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from index.bundle import Bundle
from service.items.item import Item


class ItemEncoder(Protocol):
    """Makes the features that the items of one bundle are trained on."""

    @property
    def modalities(self) -> Collection[str]:
        """What it makes features of."""
        ...

    @property
    def problem(self) -> str | None:
        """Why some items got no features last; None where all did."""
        ...

    async def encode(self, items: Sequence[Item]) -> Sequence[Mapping[str, Sequence[float]]]:
        """The features that could be made of each item, by modality."""
        ...


EncoderFor = Callable[[Bundle], ItemEncoder | None]


def no_encoder(_: Bundle) -> None:
    """New items need ready features."""
