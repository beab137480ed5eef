"""The settings of every model, frozen; the field `name` of a configuration tells which."""

from typing import Annotated

from pydantic import Field

from trainer.model_settings.anchorease import AnchorEASESettings
from trainer.model_settings.base import MODALITIES, SINGLE_MODALITIES, FrozenSettings, Modality, ModelBase, Size, Weight
from trainer.model_settings.linear import (
    EASESettings,
    ELSASettings,
    IALSSettings,
    ItemItemSettings,
    ItemKNNCBFSettings,
    ItemKNNSettings,
    PopularitySettings,
)
from trainer.model_settings.paper import (
    OFFICIAL,
    AlignRecSettings,
    AnchorRecSettings,
    BM3Settings,
    BPRSettings,
    DAMRSSettings,
    FREEDOMSettings,
    FusionWeights,
    LATTICESettings,
    LGMRecSettings,
    LightGCNSettings,
    ModalityWeights,
    SMORESettings,
    VBPRSettings,
)
from trainer.model_settings.sequence import SASRecSettings, VSKNNSettings

__all__ = [
    "MODALITIES",
    "OFFICIAL",
    "SINGLE_MODALITIES",
    "AlignRecSettings",
    "AnchorEASESettings",
    "AnchorRecSettings",
    "BM3Settings",
    "BPRSettings",
    "DAMRSSettings",
    "EASESettings",
    "ELSASettings",
    "FREEDOMSettings",
    "FrozenSettings",
    "FusionWeights",
    "IALSSettings",
    "ItemItemSettings",
    "ItemKNNCBFSettings",
    "ItemKNNSettings",
    "LATTICESettings",
    "LGMRecSettings",
    "LightGCNSettings",
    "Modality",
    "ModalityWeights",
    "ModelBase",
    "ModelSettings",
    "PopularitySettings",
    "SASRecSettings",
    "SMORESettings",
    "Size",
    "VBPRSettings",
    "VSKNNSettings",
    "Weight",
]

ModelSettings = Annotated[
    PopularitySettings
    | EASESettings
    | ItemKNNSettings
    | ItemKNNCBFSettings
    | IALSSettings
    | ELSASettings
    | BPRSettings
    | LightGCNSettings
    | VBPRSettings
    | LATTICESettings
    | FREEDOMSettings
    | LGMRecSettings
    | SMORESettings
    | BM3Settings
    | DAMRSSettings
    | AlignRecSettings
    | AnchorRecSettings
    | AnchorEASESettings
    | SASRecSettings
    | VSKNNSettings,
    Field(discriminator="name"),
]
