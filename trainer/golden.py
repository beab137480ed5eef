"""Replays the numbers of the public reference implementations (MODELS.md, section 8) through our models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from index.errors import InputError
from trainer.inputs import make_inputs
from trainer.model_settings import AnchorRecSettings, BPRSettings, LightGCNSettings, ModelSettings
from trainer.models import Inputs, Recommender, build_model
from trainer.models.anchorrec import AnchorRec

Array = np.ndarray[Any, np.dtype[Any]]
Golden = Mapping[str, Array]

TOLERANCE = 1e-5

MODALITY_NAMES = {"multimodal": "mm", "text": "t", "image": "v"}
"""Modalities as the released AnchorRec abbreviates them."""


@dataclass(frozen=True)
class Term:
    """One of our loss terms in a golden file: recorded value x the setting that weighs it x a constant weight."""

    recorded: str
    setting: str | None = None
    weight: float = 1.0

    def value(self, golden: Golden) -> float:
        """What our weighted term should be."""
        return float(golden[self.recorded]) * (float(golden[self.setting]) if self.setting else 1.0) * self.weight


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

MODELS: dict[str, Correspondence] = {
    "bpr": Correspondence(
        settings=lambda golden: BPRSettings(
            embedding_size=int(golden["cfg_embedding_size"]), reg_weight=float(golden["cfg_reg_weight"])
        ),
        parameters={"user_embedding": "user_embedding.weight", "item_embedding": "item_embedding.weight"},
        terms={"bpr": Term("sheetterm/mf"), "reg": _REG},
    ),
    "lightgcn": Correspondence(
        settings=lambda golden: LightGCNSettings(
            embedding_size=int(golden["cfg_embedding_size"]),
            n_layers=int(golden["cfg_n_layers"]),
            reg_weight=float(golden["cfg_reg_weight"]),
        ),
        parameters={"user_embedding": "embedding_dict.user_emb", "item_embedding": "embedding_dict.item_emb"},
        terms={"bpr": Term("sheetterm/mf"), "reg": _REG},
    ),
    "anchorrec": Correspondence(
        settings=_anchorrec_settings,
        parameters=_anchorrec_parameters(),
        terms={
            "bpr": Term("sheetterm/bpr"),
            "user_item": Term("sheetterm/ui_margin", "cfg_ui_cosine_loss_weight"),
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


def verify_golden(model_name: str, path: Path) -> dict[str, float]:
    """Build the model with the file's settings and parameters, replay its batches and compare every recorded number.

    Returns:
        The largest absolute difference of each quantity: loss terms, gradients of the first batch, losses over the
        steps, parameters after the last one, embeddings and scores before and after.

    Raises:
        InputError: unknown model, or the file lacks something that the comparison needs.
    """
    if model_name not in MODELS:
        raise InputError(f"no golden comparison for model {model_name!r}; expected one of {', '.join(sorted(MODELS))}")
    return _replay(MODELS[model_name], _read(path))


def _read(path: Path) -> Golden:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable golden file (.npz without pickles): {error}") from None


def _replay(correspondence: Correspondence, golden: Golden) -> dict[str, float]:
    try:
        model = _build(correspondence, golden)
        differences = _compare_embeddings(model, correspondence, golden, "init")
        differences |= _compare_steps(model, correspondence, golden)
        differences |= _compare_embeddings(model, correspondence, golden, "final")
    except KeyError as error:
        raise InputError(f"the golden file has no array {error}; is it one of this model?") from None
    return differences


def _build(correspondence: Correspondence, golden: Golden) -> Recommender:
    settings = correspondence.settings(golden)
    inputs = _inputs(correspondence, golden, k=getattr(settings, "k", 1))
    model = build_model(settings, inputs, batch_size=int(golden["cfg_train_batch_size"]), seed=0)
    theirs = {ours: torch.from_numpy(golden[f"param/{name}"]) for ours, name in correspondence.parameters.items()}
    model.load_state_dict(theirs)
    return model


def _inputs(correspondence: Correspondence, golden: Golden, k: int) -> Inputs:
    users, items = golden["edges"].T
    features = {modality: golden[name].astype(np.float32) for modality, name in correspondence.features.items()}
    sizes = int(golden["n_users"]), int(golden["n_items"])
    return make_inputs(users, items, *sizes, features=features, k=k, device=torch.device("cpu"))


def _compare_steps(model: Recommender, correspondence: Correspondence, golden: Golden) -> dict[str, float]:
    optimiser = torch.optim.Adam(model.parameters(), lr=float(golden["adam_lr"]))
    differences: dict[str, float] = {}
    losses = []
    for step, batch in enumerate(golden["batches"]):
        optimiser.zero_grad()
        terms = model.loss_terms(*(torch.from_numpy(rows) for rows in batch))
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        if step == 0:
            differences |= _compare_terms(terms, correspondence, golden)
            differences |= _compare_parameters(model, correspondence, golden, "grad", lambda p: p.grad)
        optimiser.step()
    differences["losses"] = _gap(np.array(losses), golden["losses"])
    return differences | _compare_parameters(model, correspondence, golden, "param_after", lambda p: p)


def _compare_terms(terms: Mapping[str, Tensor], correspondence: Correspondence, golden: Golden) -> dict[str, float]:
    expected = {name: term.value(golden) for name, term in correspondence.terms.items()}
    # A weight of 0 leaves a term out on our side.
    return {f"term/{name}": _gap(terms.get(name, torch.zeros(())), np.array(v)) for name, v in expected.items()}


def _compare_parameters(
    model: Recommender,
    correspondence: Correspondence,
    golden: Golden,
    kind: str,
    value: Callable[[Tensor], Tensor | None],
) -> dict[str, float]:
    ours = dict(model.named_parameters())
    recorded = {our_name: f"{kind}/{name}" for our_name, name in correspondence.parameters.items()}
    # The reference has no gradient where a parameter takes no part; then neither must we.
    return {
        name: _gap(value(ours[our_name]), golden[name]) if name in golden else _unused(ours[our_name])
        for our_name, name in recorded.items()
    }


def _unused(parameter: Tensor) -> float:
    return 0.0 if parameter.grad is None else float(parameter.grad.abs().max())


def _compare_embeddings(
    model: Recommender, correspondence: Correspondence, golden: Golden, moment: str
) -> dict[str, float]:
    with torch.no_grad():
        users, items = model.embeddings()
        ours = {"user": users, "item": items, "scores": users @ items.T, **correspondence.inside(model)}
    return {f"{moment}_{name}": _gap(value, golden[f"{moment}_{name}"]) for name, value in ours.items()}


def _gap(ours: Any, theirs: Array) -> float:
    """Largest absolute difference; infinite where one side has no number."""
    if ours is None:
        return float("inf")
    mine = ours.detach().numpy() if isinstance(ours, Tensor) else np.asarray(ours)
    if mine.shape != theirs.shape:
        raise InputError(f"shape {mine.shape} of our side does not match {theirs.shape} in the golden file")
    difference = np.abs(mine.astype(np.float64) - theirs).max(initial=0.0)
    return float(difference) if np.isfinite(difference) else float("inf")
