"""The modalities of items, of which bundles and callers have features."""

from typing import Literal

Modality = Literal["text", "image", "multimodal"]
