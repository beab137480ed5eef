"""One file a model: tensors in, tensors out. `build_model` is the only place that maps a name to a class."""

from typing import Any

import torch

from trainer.device import Precision
from trainer.model_settings import (
    AlignRecSettings,
    AnchorEASESettings,
    AnchorRecSettings,
    BM3Settings,
    BPRSettings,
    DAMRSSettings,
    EASESettings,
    ELSASettings,
    FREEDOMSettings,
    IALSSettings,
    ItemKNNCBFSettings,
    ItemKNNSettings,
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
from trainer.models.anchorease import AnchorEASE
from trainer.models.anchorrec import AnchorRec
from trainer.models.base import Factors, GradientModel, Inputs, RecommenderModel
from trainer.models.bm3 import BM3
from trainer.models.bpr import BPR
from trainer.models.damrs import DAMRS
from trainer.models.ease import EASE
from trainer.models.elsa import ELSA
from trainer.models.fitted import FittedModel, Shared, Work
from trainer.models.freedom import FREEDOM
from trainer.models.ials import IALS
from trainer.models.itemknn import ItemKNN
from trainer.models.itemknn_cbf import ItemKNNCBF
from trainer.models.lattice import LATTICE
from trainer.models.lgmrec import LGMRec
from trainer.models.lightgcn import LightGCN
from trainer.models.popularity import Popularity
from trainer.models.sasrec import SASRec
from trainer.models.smore import SMORE
from trainer.models.vbpr import VBPR
from trainer.models.vsknn import VSKNN

__all__ = [
    "Factors",
    "FittedModel",
    "GradientModel",
    "Inputs",
    "RecommenderModel",
    "Shared",
    "Work",
    "build_model",
    "computed_at_once",
    "sums_over_users",
]


_SIZED = {LATTICESettings: LATTICE, SMORESettings: SMORE, AlignRecSettings: AlignRec}
"""Models whose L2 term is divided by the configured batch size."""
_SEEDED = {
    EASESettings: EASE,
    ItemKNNSettings: ItemKNN,
    ItemKNNCBFSettings: ItemKNNCBF,
    IALSSettings: IALS,
    ELSASettings: ELSA,
}
"""Models that draw by themselves."""
_PLAIN = {
    PopularitySettings: Popularity,
    BPRSettings: BPR,
    LightGCNSettings: LightGCN,
    VBPRSettings: VBPR,
    FREEDOMSettings: FREEDOM,
    LGMRecSettings: LGMRec,
    BM3Settings: BM3,
    DAMRSSettings: DAMRS,
    AnchorEASESettings: AnchorEASE,
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
    if kind in _SEEDED:
        seeded: RecommenderModel = _SEEDED[kind](settings, inputs, seed=seed)
        return seeded
    plain: RecommenderModel = _PLAIN[kind](settings, inputs)
    return plain


def sums_over_users(settings: ModelSettings) -> bool:
    """Whether a model of these settings takes sums over users alone, so that ranks may divide the users among them."""
    return isinstance(settings, AnchorEASESettings | EASESettings)


def computed_at_once(settings: ModelSettings) -> bool:
    """Whether a model of these settings is computed in one step, without training epochs."""
    return issubclass({**_PLAIN, **_SEEDED}.get(type(settings), RecommenderModel), FittedModel)
