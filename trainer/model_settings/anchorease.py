"""The settings of AnchorEASE (docs/anchorease.md has the equations that they enter)."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.model_settings.base import (
    SINGLE_MODALITIES,
    Fraction,
    FrozenSettings,
    Modality,
    Rate,
    RecencySettings,
    Size,
    Unbounded,
    Weight,
)


class FeatureWeights(FrozenSettings):
    """alpha: weight of each modality's similarities beside the co-occurrences."""

    text: Weight = 0.3
    image: Weight = 0.05
    multimodal: Weight = 0.3


class Smoothing(FrozenSettings):
    """s: how much of its nearest items of each modality is added to an item."""

    text: Weight = 0.1
    image: Weight = 0.03
    multimodal: Weight = 0.1


class AnchorScale(FrozenSettings):
    """Factor of each modality's features in the regression that predicts an anchor."""

    text: Weight = 1.0
    image: Weight = 0.7
    multimodal: Weight = 1.0


class AnchorEASESettings(RecencySettings):
    """AnchorEASE: a smoothed spectral autoencoder with an anchor correction (docs/anchorease.md)."""

    name: Literal["anchorease"] = "anchorease"
    embedding_size: Size = 256
    """d; no more than there are users or items."""
    modalities: tuple[Modality, ...] = SINGLE_MODALITIES
    """Modalities taken in, where the data have them; where they have none of them, their fused features."""
    user_power: Weight = 0.05
    """a: a user with d_u items counts d_u^-a in the co-occurrences."""
    row_power: Weight = 0.25
    """b: an item with n_i users counts n_i^-b there."""
    input_power: Weight = 0.3
    """e: a past item counts n_i^-e in a score."""
    output_power: Weight = 0.2
    """c: the score of an item is multiplied by n_j^c."""
    diagonal_power: Weight = 0.2
    """g: and by P_jj^-g, the share of the item that no other explains."""
    ridge: Unbounded = 10.0
    """lambda: penalty of the filter, in mean co-occurrences of an item with itself; infinity: no filter."""
    feature_weights: FeatureWeights = FeatureWeights()
    smoothing: Smoothing = Smoothing()
    k: Size = 10
    """Nearest items of each modality that smoothing takes in."""
    order_share: Fraction = 0.9
    """theta: share of the co-occurrences that is counted in windows of a history; 0 leaves the order out."""
    window: Size = 60
    """L: consecutive items of a window."""
    stride: Size = 20
    """Items between the beginnings of two windows."""
    direction: Fraction = 0.5
    """phi: how much more the order counts that an item came before another than that it came after; needs times."""
    spectral_power: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """gamma: a singular direction counts by its value to this power; below 0 weak ones count more."""
    recency_tau: Unbounded = 10.0
    recency_floor: Rate = 0.1
    kappa: Weight = 2.0
    """An item with n_i users is moved by kappa / (kappa + n_i) towards its anchor."""
    rho: Weight = 1.0
    """Factor of the anchor there."""
    anchor_penalty: Unbounded = 15.0
    """Of the ridge regression of item embeddings on features."""
    anchor_scale: AnchorScale = AnchorScale()
    content_weight: Weight = 10.0
    """omega: how much likeness in content counts in which items are neighbours; scores stay the same, 0: nothing."""
    exact_up_to: Size = 8_000
    """Items up to which the filter is an exact inverse (n_items^2 numbers, a few times); beyond, no such matrix is."""
    rank: Size = 256
    """r: eigenpairs of the filter beyond that number of items."""
