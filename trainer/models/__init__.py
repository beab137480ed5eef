"""One file a model: tensors in, tensors out. `build_model` is the only place that maps a name to a class."""

import torch

from trainer.device import Precision
from trainer.model_settings import AnchorRecSettings, BPRSettings, LightGCNSettings, ModelSettings
from trainer.models.anchorrec import AnchorRec
from trainer.models.base import Factors, Inputs, Recommender
from trainer.models.bpr import BPR
from trainer.models.lightgcn import LightGCN
from trainer.models.popularity import Popularity

__all__ = ["Factors", "Inputs", "Recommender", "build_model"]


def build_model(
    settings: ModelSettings, inputs: Inputs, *, batch_size: int, seed: int, precision: Precision = "float32"
) -> Recommender:
    """Make a freshly initialised model; the same seed gives the same parameters.

    `precision` is that of linear layers; a model without any has no use for it.
    """
    torch.manual_seed(seed)
    match settings:
        case AnchorRecSettings():
            return AnchorRec(settings, inputs, batch_size=batch_size, precision=precision)
        case LightGCNSettings():
            return LightGCN(settings, inputs)
        case BPRSettings():
            return BPR(settings, inputs)
        case _:
            return Popularity(inputs)
