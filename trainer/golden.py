"""Replays the numbers of the public reference implementations (MODELS.md, section 8) through our models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from index.errors import InputError
from trainer.config import BPRSettings, LightGCNSettings, ModelSettings
from trainer.graph import SparseMatrix, interaction_matrix, normalise_interactions
from trainer.models import Inputs, Recommender, build_model

Array = np.ndarray[Any, np.dtype[Any]]
Golden = Mapping[str, Array]

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Correspondence:
    """How a golden file's names and settings map to one of our models."""

    settings: Callable[[Golden], ModelSettings]
    parameters: Mapping[str, str]
    """Our parameter name -> the reference's."""
    terms: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """Our loss term -> the file's term and the setting that weighs it (None: 1)."""


MODELS: dict[str, Correspondence] = {
    "bpr": Correspondence(
        settings=lambda golden: BPRSettings(
            embedding_size=int(golden["cfg_embedding_size"]), reg_weight=float(golden["cfg_reg_weight"])
        ),
        parameters={"user_embedding": "user_embedding.weight", "item_embedding": "item_embedding.weight"},
        terms={"bpr": ("sheetterm/mf", None), "reg": ("sheetterm/reg", "cfg_reg_weight")},
    ),
    "lightgcn": Correspondence(
        settings=lambda golden: LightGCNSettings(
            embedding_size=int(golden["cfg_embedding_size"]),
            n_layers=int(golden["cfg_n_layers"]),
            reg_weight=float(golden["cfg_reg_weight"]),
        ),
        parameters={"user_embedding": "embedding_dict.user_emb", "item_embedding": "embedding_dict.item_emb"},
        terms={"bpr": ("sheetterm/mf", None), "reg": ("sheetterm/reg", "cfg_reg_weight")},
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
        differences = _compare_embeddings(model, golden, "init")
        differences |= _compare_steps(model, correspondence, golden)
        differences |= _compare_embeddings(model, golden, "final")
    except KeyError as error:
        raise InputError(f"the golden file has no array {error}; is it one of this model?") from None
    return differences


def _build(correspondence: Correspondence, golden: Golden) -> Recommender:
    settings = correspondence.settings(golden)
    model = build_model(settings, _inputs(golden), batch_size=int(golden["cfg_train_batch_size"]), seed=0)
    theirs = {ours: torch.from_numpy(golden[f"param/{name}"]) for ours, name in correspondence.parameters.items()}
    model.load_state_dict(theirs)
    return model


def _inputs(golden: Golden) -> Inputs:
    n_users, n_items = int(golden["n_users"]), int(golden["n_items"])
    users, items = golden["edges"].T
    matrix = interaction_matrix(users, items, n_users, n_items)
    return Inputs(
        n_users=n_users,
        n_items=n_items,
        interactions=SparseMatrix(normalise_interactions(matrix), torch.device("cpu")),
        user_degrees=torch.from_numpy(np.diff(matrix.indptr)),
        item_degrees=torch.from_numpy(np.bincount(matrix.indices, minlength=n_items)),
    )


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
    return {
        f"term/{ours}": _gap(terms[ours], golden[theirs] * (golden[weight] if weight else 1.0))
        for ours, (theirs, weight) in correspondence.terms.items()
    }


def _compare_parameters(
    model: Recommender,
    correspondence: Correspondence,
    golden: Golden,
    kind: str,
    value: Callable[[Tensor], Tensor | None],
) -> dict[str, float]:
    ours = dict(model.named_parameters())
    return {
        f"{kind}/{name}": _gap(value(ours[our_name]), golden[f"{kind}/{name}"])
        for our_name, name in correspondence.parameters.items()
    }


def _compare_embeddings(model: Recommender, golden: Golden, moment: str) -> dict[str, float]:
    with torch.no_grad():
        users, items = model.embeddings()
    ours = {"user": users, "item": items, "scores": users @ items.T}
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
