"""The settings of the paper's systems (docs/models.md has the equations that they enter)."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.model_settings.base import (
    MODALITIES,
    SINGLE_MODALITIES,
    Fraction,
    FrozenSettings,
    Modality,
    ModelBase,
    Rate,
    Size,
    Weight,
)


class BPRSettings(ModelBase):
    """Matrix factorisation by Bayesian personalised ranking (docs/models.md#bpr)."""

    name: Literal["bpr"] = "bpr"
    embedding_size: Size = 64
    reg_weight: Weight = 1e-2


class LightGCNSettings(ModelBase):
    """LightGCN (docs/models.md#lightgcn)."""

    name: Literal["lightgcn"] = "lightgcn"
    embedding_size: Size = 64
    n_layers: Size = 2
    reg_weight: Weight = 1e-4


class VBPRSettings(ModelBase):
    """VBPR: BPR whose items also have a projection of their features (docs/models.md#vbpr)."""

    needs = 1

    name: Literal["vbpr"] = "vbpr"
    embedding_size: Size = 64
    """Of the free half and of the projected half of an item; users have both."""
    modalities: tuple[Modality, ...] = SINGLE_MODALITIES
    reg_weight: Weight = 1e-2


class LATTICESettings(ModelBase):
    """LATTICE: item graphs learned from projected features, renewed each epoch (docs/models.md#lattice)."""

    needs = 1

    name: Literal["lattice"] = "lattice"
    embedding_size: Size = 64
    modalities: tuple[Modality, ...] = ("image", "text")
    n_layers: Size = 2
    """Layers over the user-item graph with self-loops."""
    n_item_layers: Size = 1
    k: Size = 10
    given_share: Fraction = 0.9
    """lambda: share of the graphs of the given features in the graph that is used."""
    l2_weight: Weight = 1e-3


class FREEDOMSettings(ModelBase):
    """FREEDOM: a frozen item graph, and a user-item graph thinned at each epoch (docs/models.md#freedom)."""

    needs = 1

    name: Literal["freedom"] = "freedom"
    embedding_size: Size = 64
    modalities: tuple[Modality, ...] = SINGLE_MODALITIES
    n_layers: Size = 2
    n_item_layers: Size = 1
    k: Size = 10
    image_share: Fraction = 0.1
    """Share of the image graph in the item graph; the text graph has the rest."""
    edge_dropout: Rate = 0.8
    """rho: share of the training interactions that an epoch leaves out of the propagation."""
    modal_weight: Weight = 1e-3
    """Weight of the ranking losses of projected features (the reference calls it reg_weight)."""


class LGMRecSettings(ModelBase):
    """LGMRec: local graphs, and a hypergraph of latent interests (docs/models.md#lgmrec)."""

    takes = SINGLE_MODALITIES
    needs = 2

    name: Literal["lgmrec"] = "lgmrec"
    embedding_size: Size = 64
    n_layers: Size = 2
    n_modal_layers: Size = 2
    n_hyper_layers: Size = 1
    n_hyperedges: Size = 4
    keep_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the hyperedge assignments that training keeps."""
    global_weight: Weight = 0.3
    """alpha: of the hypergraph's embeddings in the final ones."""
    contrast_weight: Weight = 1e-4
    reg_weight: Weight = 1e-6


class SMORESettings(ModelBase):
    """SMORE: modalities denoised and fused in the frequency domain (docs/models.md#smore)."""

    takes = SINGLE_MODALITIES
    needs = 2

    name: Literal["smore"] = "smore"
    embedding_size: Size = 64
    n_layers: Size = 3
    n_item_layers: Size = 1
    k_image: Size = 10
    k_text: Size = 10
    dropout: Rate = 0.1
    """Of the preference gates."""
    contrast_weight: Weight = 1e-2
    l2_weight: Weight = 1e-4


class BM3Settings(ModelBase):
    """BM3: bootstrapped views of users, items and features; no negatives (docs/models.md#bm3)."""

    needs = 1

    name: Literal["bm3"] = "bm3"
    embedding_size: Size = 64
    modalities: tuple[Modality, ...] = SINGLE_MODALITIES
    n_layers: Size = 1
    dropout: Rate = 0.3
    modal_weight: Weight = 2.0
    """Weight of the alignment of features (the reference calls it cl_weight)."""
    reg_weight: Weight = 0.1


class DAMRSSettings(ModelBase):
    """DA-MRS: item graphs denoised by agreement of the modalities, and by behaviour (docs/models.md#da-mrs)."""

    takes = SINGLE_MODALITIES
    needs = 2
    fewest_items = 11  # the loss tells an item's ten nearest from the others

    name: Literal["damrs"] = "damrs"
    embedding_size: Size = 64
    n_layers: Size = 2
    n_item_layers: Size = 1
    k: Size = 10
    n_companions: Size = 2
    """Items that shared the most users with an item, in the behaviour graph."""
    min_shared_users: Size = 2
    neighbour_weight: Weight = 1e-3
    kl_weight: Weight = 1.0


class AlignRecSettings(ModelBase):
    """AlignRec: one fused modality aligned with the ID embeddings (docs/models.md#alignrec)."""

    takes = ("multimodal",)
    needs = 1

    name: Literal["alignrec"] = "alignrec"
    embedding_size: Size = 64
    n_layers: Size = 2
    n_item_layers: Size = 1
    k: Size = 10
    user_item_weight: Weight = 0.1
    contrast_weight: Weight = 1e-2
    similarity_weight: Weight = 0.1
    l2_weight: Weight = 1e-4


class FusionWeights(FrozenSettings):
    """Weight of each part in the sum that makes user and item embeddings; 0 leaves a part out."""

    id: Weight = 1.0
    multimodal: Weight = 1.0
    text: Weight = 1.0
    image: Weight = 1.0


class ModalityWeights(FrozenSettings):
    """Weight of each modality inside AMP (the released code has 1, 0.03 and 0.01)."""

    multimodal: Weight = 1.0
    text: Weight = 1.0
    image: Weight = 1.0


class AnchorRecSettings(ModelBase):
    """AnchorRec (docs/anchorrec.md#equations). Choices that the paper leaves open are settings with our defaults.

    `variant = "official"` changes the defaults to OFFICIAL, those of the released code. A setting given beside it
    still wins, so every difference between the two can be switched separately.
    """

    name: Literal["anchorrec"] = "anchorrec"
    variant: Literal["paper", "official"] = "paper"
    embedding_size: Size = 64
    n_layers: Size = 2
    """Layers of LightGCN over the user-item graph."""
    n_item_layers: Size = 1
    """Layers of propagation over each item-item graph."""
    k: Size = 10
    """Neighbours of an item in each item-item graph, itself included."""
    graph_search: Literal["auto", "exact", "approximate"] = "auto"
    """How they are found; `auto` is exact up to 50,000 items and approximate, with a measured recall, beyond."""
    modalities: tuple[Modality, ...] = MODALITIES
    """Modalities taken in, where the data set has them."""
    feature_scaling: Literal["none", "unit"] = "none"
    """`unit` divides each feature row by its norm before the model sees it."""
    train_features: bool = False
    """Let training move the feature tables, and with them what AMP compares to. The paper says fixed."""
    fusion: FusionWeights = FusionWeights()
    project: bool = True
    """Align, and correct by, small projections of the embeddings; else the origin embeddings themselves."""
    project_from: Literal["origin", "features"] = "origin"
    """What the text and image projections start from: h^m (paper) or the features (released code)."""
    correction_weight: Weight = 0.01
    """lambda: how much of the projected anchor is added to the item embedding."""
    correction_decoder: bool = False
    """Send the projected anchor through one more MLP before it is added."""
    aal_weight: Weight = 0.01
    """lambda_1: anchor-aligned learning (paper, equation 2)."""
    aal_direction: Literal["both", "to_anchor", "from_anchor"] = "both"
    """InfoNCE of each row against the anchors, of each anchor against the rows, or the mean of the two."""
    detach_anchor: Literal["none", "mixture", "both"] = "mixture"
    """In which AAL terms the anchor receives no gradient."""
    temperature: Annotated[float, Field(gt=0)] = 0.2
    """InfoNCE temperature tau."""
    text_share: Annotated[float, Field(ge=0, le=1)] = 0.75
    """alpha: share of the text projection in the text-image mixture."""
    amp_weight: Weight = 0.1
    """lambda_2: anchor-modality preservation (paper, equation 3)."""
    amp_form: Literal["cosine", "frobenius"] = "cosine"
    """Mean squared cosine gap over pairs (paper), or the Frobenius norm of unnormalised products (released code)."""
    amp_modality_weights: ModalityWeights = ModalityWeights()
    distinct_items: bool = True
    """AAL and AMP over the batch's distinct positives; else a positive drawn twice is its own false negative."""
    aligned_items: Size = 4096
    """Items of a batch that AAL and AMP look at, at most: evenly spaced ones of more, since the cost is square."""
    user_item_weight: Weight = 0.1
    user_item_form: Literal["cosine", "margin"] = "cosine"
    """AlignRec's 1 - cos(user, positive), or the released code's margin between positive and negative cosines."""
    l2_weight: Weight = 1e-2
    """Squared norm of the batch's final embeddings."""
    smoothness_weight: Weight = 0.0
    """Squared differences of the anchor's origin embeddings along its item graph (released code only)."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_variant(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("variant") == "official":
            return {**OFFICIAL, **values}
        return values


OFFICIAL: dict[str, Any] = {
    "train_features": True,
    "fusion": FusionWeights(image=0.0),
    "project_from": "features",
    "correction_weight": 5e-4,
    "correction_decoder": True,
    "aal_direction": "from_anchor",
    "distinct_items": False,
    "amp_form": "frobenius",
    "amp_modality_weights": ModalityWeights(multimodal=1.0, text=0.03, image=0.01),
    "user_item_weight": 0.01,
    "user_item_form": "margin",
    "smoothness_weight": 0.1,
}
"""What the released code does differently from the paper (docs/anchorrec.md has the list in words)."""
