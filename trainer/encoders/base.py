"""What an encoder is."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray


class FeatureEncoder(Protocol):
    """Turns items (texts, or paths of images) into features of one width.

    `version` changes whenever the same content would give other features: it names the weights.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102

    def content(self, item: str) -> bytes:
        """The bytes that determine the item's features. OSError when there are none to read."""
        ...

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Features (n, width); a row of NaN says that the item's content cannot be made sense of."""
        ...


def weights_version(net: torch.nn.Module) -> str:
    """Hex digits that change with any weight: a model renewed in place must not answer from an old cache."""
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
