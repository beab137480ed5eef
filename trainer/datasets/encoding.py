"""Chooses the encoders for features that a source does not provide."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from trainer.data import EncoderName
from trainer.features import FeatureArray, load_features
from trainer.prepare import FeatureStep, MadeFeatures

NONE = "none"
AUTO = "auto"
FEATURE_CACHE = ".feature-cache"
"""Folder beside a dataset with all that was ever encoded for it."""


@dataclass(frozen=True)
class EncodingOptions:
    """`fused` is "auto" (out of text and image features), "none", or a .npy file in the dataset's row order."""

    cache: Path
    text_encoder: str = "minilm"
    image_encoder: str = "efficientnet-lite0"
    fused: str = AUTO
    batch_size: int = 64
    device: Literal["auto", "cpu", "cuda"] = "auto"


def feature_steps(options: EncodingOptions) -> dict[str, FeatureStep]:
    """One step a modality that is not switched off; a missing file of fused features is an error at once."""
    steps: dict[str, FeatureStep] = {}
    if options.text_encoder != NONE:
        steps["text"] = partial(_encoded, "text", options)
    if options.image_encoder != NONE:
        steps["image"] = partial(_encoded, "image", options)
    if options.fused == AUTO:
        steps["multimodal"] = fused_step
    elif options.fused != NONE:
        fused = load_features(Path(options.fused))
        steps["multimodal"] = lambda items, features: MadeFeatures(fused, 0)
    return steps


def _encoded(
    modality: Literal["text", "image"],
    options: EncodingOptions,
    items: pl.DataFrame,
    features: Mapping[str, FeatureArray],
) -> MadeFeatures | None:
    inputs = items[modality].to_list()
    if not any(inputs):
        return None
    # torch takes seconds to import, and most errors are found before it is needed.
    from trainer.device import choose_device  # noqa: PLC0415
    from trainer.encoders import encode_features, image_encoder, text_encoder  # noqa: PLC0415

    device = str(choose_device(options.device))
    encoder = (
        text_encoder(options.text_encoder, device)
        if modality == "text"
        else image_encoder(options.image_encoder, device)
    )
    made, missing = encode_features(inputs, encoder, cache=options.cache, batch_size=options.batch_size)
    return MadeFeatures(made, missing, EncoderName(name=encoder.name, version=encoder.version))


def fused_step(items: pl.DataFrame, features: Mapping[str, FeatureArray]) -> MadeFeatures | None:
    """Multimodal features out of text and image features; None where one of them is lacking."""
    if not {"text", "image"} <= features.keys():
        return None
    from trainer.encoders import fuse  # noqa: PLC0415

    return MadeFeatures(fuse(features["text"], features["image"]), 0)
