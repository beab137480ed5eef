"""How a golden file's names and settings map to our models: one table, a row a model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from trainer.graph import by_row_counts
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
    SMORESettings,
    VBPRSettings,
)
from trainer.models.anchorrec import AnchorRec

Array = np.ndarray[Any, np.dtype[Any]]
Golden = Mapping[str, Array]


@dataclass(frozen=True)
class Term:
    """One of our loss terms in a golden file: recorded value x the setting that weighs it x a constant weight."""

    recorded: str
    setting: str | None = None
    weight: float = 1.0
    index: int | None = None
    """Which of several recorded values."""
    flag: str | None = None
    """The setting that switches the term on."""

    def value(self, golden: Golden) -> float:
        """What our weighted term should be; one that is switched off need not have been recorded."""
        factors = [float(golden[name]) for name in (self.setting, self.flag) if name]
        if not (weight := self.weight * math.prod(factors)):
            return 0.0
        recorded = golden[self.recorded] if self.index is None else golden[self.recorded][self.index]
        return weight * float(recorded)


@dataclass(frozen=True)
class Correspondence:
    """How a golden file's names and settings map to one of our models."""

    settings: Callable[[Golden], ModelSettings]
    parameters: Mapping[str, str]
    """Our parameter name -> the reference's."""
    terms: Mapping[str, Term] = field(default_factory=dict)
    """Our loss term -> what the file has of it."""
    features: Mapping[str, str] = field(default_factory=dict)
    """Modality -> the file's feature array."""
    inside: Callable[[Any], Mapping[str, Tensor]] = lambda model: {}
    """Embeddings inside the model that the file records before and after the steps, by the file's names."""
    graphs: Mapping[str, Callable[[Golden], sp.csr_matrix]] = field(default_factory=dict)
    """Item graphs that the file gives, and that no data in it could be made into."""
    relative_terms: bool = False
    """Whether terms are compared relatively: the reference computes them through float32 logarithms."""


SINGLES = {"text": "feat_t", "image": "feat_v"}
TABLES = {"user_embedding": "user_embedding.weight", "item_embedding": "item_id_embedding.weight"}


def _reader(
    model: Callable[..., ModelSettings], integers: Mapping[str, str], numbers: Mapping[str, str] | None = None
) -> Callable[[Golden], ModelSettings]:
    """Settings out of a golden file: ours -> the reference's name, without its cfg_."""

    def read(golden: Golden) -> ModelSettings:
        whole = {ours: int(golden[f"cfg_{theirs}"]) for ours, theirs in integers.items()}
        real = {ours: float(golden[f"cfg_{theirs}"]) for ours, theirs in (numbers or {}).items()}
        return model(embedding_size=int(golden["cfg_embedding_size"]), **whole, **real)

    return read


def _linear(ours: str, theirs: str, *kinds: str) -> dict[str, str]:
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in kinds or ("weight", "bias")}


def _feature_tables() -> dict[str, str]:
    """Trained feature tables and their projections, as most of the references name them."""
    names = dict(TABLES)
    for modality in SINGLES:
        names |= {f"features.{modality}": f"{modality}_embedding.weight"}
        names |= _linear(f"projections.{modality}", f"{modality}_trs")
    return names


def _given_companions(golden: Golden) -> sp.csr_matrix:
    """The reference reads its behaviour graph from a file; in the golden it is drawn at random."""
    n = int(golden["n_items"])
    rows, columns = (np.concatenate([np.arange(n), golden[name]]) for name in ("session_i", "session_j"))
    return by_row_counts(sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n, n)))


def _smore_parameters() -> dict[str, str]:
    views = {"image": ("v", "image"), "text": ("t", "text"), "multimodal": ("f", "fusion")}
    names = _feature_tables()
    for view, (letter, word) in views.items():
        names[f"filters.{view}"] = f"{word}_complex_weight"
        names |= _linear(f"gates.{view}", f"gate_{letter}.0")
        names |= _linear(f"preferences.{view}", f"gate_{word}_prefer.0")
        if view != "multimodal":
            names |= _linear(f"queries.{view}.0", f"query_{letter}.0")
            names |= _linear(f"queries.{view}.2", f"query_{letter}.2", "weight")
    return names


MODALITY_NAMES = {"multimodal": "mm", "text": "t", "image": "v"}
"""Modalities as the released AnchorRec abbreviates them."""


def _anchorrec_settings(golden: Golden) -> AnchorRecSettings:
    return AnchorRecSettings.model_validate(
        {
            "variant": "official",
            "embedding_size": int(golden["cfg_embedding_size"]),
            "n_layers": int(golden["cfg_n_ui_layers"]),
            "n_item_layers": int(golden["cfg_n_layers"]),
            "k": int(golden["cfg_knn_k"]),
            "aal_weight": float(golden["cfg_aal_loss"]),
            "amp_weight": float(golden["cfg_amp_loss"]),
            "l2_weight": float(golden["cfg_lambda_weight"]),
            "temperature": float(golden["cfg_tau_weight"]),
            "correction_weight": float(golden["cfg_recover_lambda"]),
            "user_item_weight": float(golden["cfg_ui_cosine_loss_weight"]) * bool(golden["cfg_ui_cosine_loss"]),
        }
    )


def _anchorrec_parameters() -> dict[str, str]:
    names = {"user_embedding": "user_embedding.weight", "item_embedding": "item_id_embedding.weight"}
    mlps = {"projections.id": "W_id_i", "projections.multimodal": "W_mm_i", "projections.text": "W_t",
            "projections.image": "W_v", "decoder": "D_mm2id"}  # fmt: skip
    for ours, theirs in MODALITY_NAMES.items():
        names[f"features.{ours}"] = f"{theirs}_embedding.weight"
        for kind in ("weight", "bias"):
            names[f"refine.{ours}.{kind}"] = f"{theirs}_trs.{kind}"
            names[f"gates.{ours}.{kind}"] = f"gate_{theirs}.0.{kind}"
    for our_mlp, their_mlp in mlps.items():
        for layer in ("0.weight", "0.bias", "2.weight", "2.bias"):
            names[f"{our_mlp}.{layer}"] = f"{their_mlp}.{layer}"
    return names


def _inside_anchorrec(model: AnchorRec) -> dict[str, Tensor]:
    """C, the modality branches [R-hat h; h] and the projections."""
    names = {"id": "id", **MODALITY_NAMES}
    branches = {MODALITY_NAMES[m]: model.both_sides(m) for m in model.modalities}
    projected = {f"p_{names[name]}": value for name, value in model.projected().items()}
    return {"content": model.both_sides("id"), **branches, **projected}


_REG = Term("sheetterm/reg", "cfg_reg_weight")
_BPR, _L2 = Term("term/bpr_loss/0", index=0), Term("term/bpr_loss/0", index=1)

MODELS: dict[str, Correspondence] = {
    "bpr": Correspondence(
        settings=_reader(BPRSettings, {}, {"reg_weight": "reg_weight"}),
        parameters={"user_embedding": "user_embedding.weight", "item_embedding": "item_embedding.weight"},
        terms={"bpr": Term("sheetterm/mf"), "reg": _REG},
    ),
    "lightgcn": Correspondence(
        settings=_reader(LightGCNSettings, {"n_layers": "n_layers"}, {"reg_weight": "reg_weight"}),
        parameters={"user_embedding": "embedding_dict.user_emb", "item_embedding": "embedding_dict.item_emb"},
        terms={"bpr": Term("sheetterm/mf"), "reg": _REG},
    ),
    "vbpr": Correspondence(
        settings=_reader(VBPRSettings, {}, {"reg_weight": "reg_weight"}),
        parameters={
            "user_embedding": "u_embedding",
            "item_embedding": "i_embedding",
            **_linear("projection", "item_linear"),
        },
        terms={"bpr": Term("sheetterm/mf"), "reg": _REG},
        features=SINGLES,
    ),
    "lattice": Correspondence(
        settings=_reader(
            LATTICESettings,
            {"n_item_layers": "n_layers", "k": "knn_k"},
            {"given_share": "lambda_coeff", "l2_weight": "reg_weight"},
        ),
        parameters={**_feature_tables(), "modal_weight": "modal_weight"},
        terms={"bpr": _BPR, "l2": _L2},
        features=SINGLES,
    ),
    "freedom": Correspondence(
        settings=_reader(
            FREEDOMSettings,
            {"n_layers": "n_ui_layers", "n_item_layers": "n_mm_layers", "k": "knn_k"},
            {"image_share": "mm_image_weight", "edge_dropout": "dropout", "modal_weight": "reg_weight"},
        ),
        parameters=_feature_tables(),
        terms={
            "bpr": Term("term/bpr_loss/0"),
            "bpr_text": Term("term/bpr_loss/1", "cfg_reg_weight"),
            "bpr_image": Term("term/bpr_loss/2", "cfg_reg_weight"),
        },
        features=SINGLES,
    ),
    "lgmrec": Correspondence(
        settings=_reader(
            LGMRecSettings,
            {
                "n_layers": "n_ui_layers",
                "n_modal_layers": "n_mm_layers",
                "n_hyper_layers": "n_hyper_layer",
                "n_hyperedges": "hyper_num",
            },
            {
                "keep_rate": "keep_rate",
                "global_weight": "alpha",
                "contrast_weight": "cl_weight",
                "reg_weight": "reg_weight",
            },
        ),
        parameters={
            **TABLES,
            "projections.image": "item_image_trs",
            "projections.text": "item_text_trs",
            "hyperedges.image": "v_hyper",
            "hyperedges.text": "t_hyper",
        },
        terms={
            "bpr": Term("term/bpr_loss/0"),
            "contrast_users": Term("term/ssl_triple_loss/0", "cfg_cl_weight"),
            "contrast_items": Term("term/ssl_triple_loss/1", "cfg_cl_weight"),
            "reg": Term("term/reg_loss/0", "cfg_reg_weight"),
        },
        features=SINGLES,
    ),
    "smore": Correspondence(
        settings=_reader(
            SMORESettings,
            {"n_layers": "n_ui_layers", "n_item_layers": "n_layers", "k_image": "image_knn_k", "k_text": "text_knn_k"},
            {"dropout": "dropout_rate", "contrast_weight": "cl_loss", "l2_weight": "reg_weight"},
        ),
        parameters=_smore_parameters(),
        terms={
            "bpr": _BPR,
            "l2": _L2,
            "contrast_items": Term("term/InfoNCE/0", "cfg_cl_loss"),
            "contrast_users": Term("term/InfoNCE/1", "cfg_cl_loss"),
        },
        features=SINGLES,
    ),
    "bm3": Correspondence(
        settings=_reader(
            BM3Settings,
            {"n_layers": "n_layers"},
            {"dropout": "dropout", "modal_weight": "cl_weight", "reg_weight": "reg_weight"},
        ),
        parameters={**_feature_tables(), **_linear("predictor", "predictor")},
        terms={
            "user_to_item": Term("sheetterm/ui"),
            "item_to_user": Term("sheetterm/iu"),
            "text_to_item": Term("sheetterm/t", "cfg_cl_weight"),
            "image_to_item": Term("sheetterm/v", "cfg_cl_weight"),
            "text_to_itself": Term("sheetterm/tv", "cfg_cl_weight"),
            "image_to_itself": Term("sheetterm/vt", "cfg_cl_weight"),
            "reg": _REG,
        },
        features=SINGLES,
    ),
    "damrs": Correspondence(
        settings=_reader(
            DAMRSSettings,
            {"n_layers": "n_ui_layers", "n_item_layers": "n_mm_layers", "k": "knn_k"},
            {"neighbour_weight": "neighbor_weight", "kl_weight": "kl_weight"},
        ),
        parameters=TABLES,
        terms={
            "bpr": Term("sheetterm/weighted_bpr"),
            "neighbours": Term("sheetterm/neighbor", "cfg_neighbor_weight"),
            "kl": Term("sheetterm/kl", "cfg_kl_weight"),
        },
        features=SINGLES,
        graphs={"behaviour": _given_companions},
        relative_terms=True,
    ),
    "alignrec": Correspondence(
        settings=_reader(
            AlignRecSettings,
            {"n_layers": "n_ui_layers", "n_item_layers": "n_layers", "k": "knn_k"},
            {
                "user_item_weight": "ui_cosine_loss_weight",
                "contrast_weight": "cl_loss",
                "similarity_weight": "sim_weight",
                "l2_weight": "reg_weight",
            },
        ),
        parameters={
            **TABLES,
            "features": "mm_embedding.weight",
            **_linear("refine", "mm_trs"),
            **_linear("gate", "gate_v.0"),
        },
        terms={
            "bpr": Term("sheetterm/bpr"),
            "user_item": Term("sheetterm/ui_cos", "cfg_ui_cosine_loss_weight"),
            "l2": Term("sheetterm/l2", "cfg_reg_weight"),
            "contrast_items": Term("sheetterm/cl_item", "cfg_cl_loss"),
            "contrast_users": Term("sheetterm/cl_user", "cfg_cl_loss"),
            "similarity": Term("sheetterm/sim", "cfg_sim_weight"),
        },
        features={"multimodal": "feat_m"},
    ),
    "anchorrec": Correspondence(
        settings=_anchorrec_settings,
        parameters=_anchorrec_parameters(),
        terms={
            "bpr": Term("sheetterm/bpr"),
            "user_item": Term("sheetterm/ui_margin", "cfg_ui_cosine_loss_weight", flag="cfg_ui_cosine_loss"),
            "l2": Term("sheetterm/l2", "cfg_lambda_weight"),
            "aal_id": Term("sheetterm/aal_id", "cfg_aal_loss"),
            "aal_mixture": Term("sheetterm/aal_mix", "cfg_aal_loss"),
            "amp_multimodal": Term("sheetterm/amp_mm", "cfg_amp_loss"),
            "amp_text": Term("sheetterm/amp_t", "cfg_amp_loss", 0.03),
            "amp_image": Term("sheetterm/amp_v", "cfg_amp_loss", 0.01),
            "smoothness": Term("sheetterm/graph_smooth", weight=0.1),
        },
        features={"multimodal": "feat_m", "text": "feat_t", "image": "feat_v"},
        inside=_inside_anchorrec,
    ),
}
