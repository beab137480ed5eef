"""One file a model: tensors in, tensors out. `build_model` is the only place that maps a name to a class."""

from typing import Any

import torch

from trainer.device import Precision
from trainer.model_settings import (
    AlignRecSettings,
    AnchorRecSettings,
    BM3Settings,
    BPRSettings,
    DAMRSSettings,
    FREEDOMSettings,
    LATTICESettings,
    LGMRecSettings,
    LightGCNSettings,
    ModelSettings,
    PopularitySettings,
    SASRecSettings,
    SMORESettings,
    VBPRSettings,
    VSKNNSettings,
)
from trainer.models.alignrec import AlignRec
from trainer.models.anchorrec import AnchorRec
from trainer.models.base import Factors, GradientModel, Inputs, RecommenderModel
from trainer.models.bm3 import BM3
from trainer.models.bpr import BPR
from trainer.models.damrs import DAMRS
from trainer.models.fitted import FittedModel, Work
from trainer.models.freedom import FREEDOM
from trainer.models.lattice import LATTICE
from trainer.models.lgmrec import LGMRec
from trainer.models.lightgcn import LightGCN
from trainer.models.popularity import Popularity
from trainer.models.sasrec import SASRec
from trainer.models.smore import SMORE
from trainer.models.vbpr import VBPR
from trainer.models.vsknn import VSKNN

__all__ = ["Factors", "FittedModel", "GradientModel", "Inputs", "RecommenderModel", "Work", "build_model"]


_SIZED = {LATTICESettings: LATTICE, SMORESettings: SMORE, AlignRecSettings: AlignRec}
"""Models whose L2 term is divided by the configured batch size."""
_PLAIN = {
    PopularitySettings: Popularity,
    BPRSettings: BPR,
    LightGCNSettings: LightGCN,
    VBPRSettings: VBPR,
    FREEDOMSettings: FREEDOM,
    LGMRecSettings: LGMRec,
    BM3Settings: BM3,
    DAMRSSettings: DAMRS,
    SASRecSettings: SASRec,
    VSKNNSettings: VSKNN,
}


def build_model(
    settings: ModelSettings, inputs: Inputs, *, batch_size: int, seed: int, precision: Precision = "float32"
) -> RecommenderModel:
    """Make a freshly initialised model; the same seed gives the same parameters.

    `precision` is that of AnchorRec's linear layers; the others compute in float32.
    """
    torch.manual_seed(seed)
    if isinstance(settings, AnchorRecSettings):
        return AnchorRec(settings, inputs, batch_size=batch_size, precision=precision)
    kind: Any = type(settings)
    if kind in _SIZED:
        sized: RecommenderModel = _SIZED[kind](settings, inputs, batch_size=batch_size)
        return sized
    plain: RecommenderModel = _PLAIN[kind](settings, inputs)
    return plain
