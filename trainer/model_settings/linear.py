"""The settings of models that are computed at once, without the training loop (docs/models.md)."""

import math
from typing import Annotated, Literal

from pydantic import Field

from trainer.model_settings.base import (
    SINGLE_MODALITIES,
    Fraction,
    Modality,
    ModelBase,
    RecencySettings,
    Size,
    Unbounded,
    Weight,
)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PopularitySettings(ModelBase):
    """Ranks items by their number of training interactions: the floor that training must beat."""

    name: Literal["popularity"] = "popularity"
    half_life_days: Unbounded = math.inf
    """Age, before the newest training interaction, at which an interaction counts half; infinity: all count alike."""


class ItemItemSettings(RecencySettings):
    """Base of models that score by an item-item matrix, and are served by factors of it."""

    embedding_size: Size = 256
    """Rank of the served form (docs/models.md#served-at-rank-d); no more than there are users or items."""


class EASESettings(ItemItemSettings):
    """EASE (docs/models.md#ease)."""

    most_items = 20_000  # its inverse is dense: 1.6 GB, three times while it is computed

    name: Literal["ease"] = "ease"
    ridge: Positive = 200.0


class ItemKNNSettings(ItemItemSettings):
    """ItemKNN on interactions (docs/models.md#itemknn)."""

    name: Literal["itemknn"] = "itemknn"
    k: Size = 100
    """Neighbours that an item's score is made of."""
    shrink: Weight = 100.0
    """h: added to the product of lengths, so that few common users make no near neighbour."""
    normalise: bool = True
    """Divide by the lengths; off, the similarity is the weighted number of common users."""
    weighting: Literal["none", "tf-idf", "bm25"] = "none"
    """How much less the interactions of users with many items count."""


class ItemKNNCBFSettings(ItemItemSettings):
    """ItemKNN on features (docs/models.md#itemknn-cbf)."""

    needs = 1

    name: Literal["itemknn-cbf"] = "itemknn-cbf"
    modalities: tuple[Modality, ...] = SINGLE_MODALITIES
    image_share: Fraction = 0.5
    """Share of the image in the similarity, where there are images and other features."""
    k: Size = 100
    """Neighbours that an item's score is made of."""
    centre: bool = True
    """Take the mean features off first."""


class IALSSettings(ModelBase):
    """Implicit alternating least squares (docs/models.md#ials)."""

    name: Literal["ials"] = "ials"
    embedding_size: Size = 64
    alpha: Positive = 10.0
    """Confidence in an interaction; that in its absence is 1."""
    ridge: Positive = 10.0
    iterations: Size = 15


class ELSASettings(RecencySettings):
    """ELSA, a linear autoencoder of low rank (docs/models.md#elsa)."""

    name: Literal["elsa"] = "elsa"
    embedding_size: Size = 256
    epochs: Size = 20
    batch_size: Size = 256
    """Users of one step."""
    learning_rate: Positive = 0.01
