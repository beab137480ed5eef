"""AnchorEASE beside the numbers of a float64 reference: by the exact inverse, and by subspace iteration alone."""

import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.golden.correspondence import Array, Golden
from trainer.golden.replay import gap
from trainer.inputs import make_inputs
from trainer.model_settings import AnchorEASESettings
from trainer.models import Work, build_model
from trainer.models.anchor_correction import anchors
from trainer.models.anchorease import AnchorEASE
from trainer.models.base import sum_tensors
from trainer.models.spectral import Iteration

BY_ITERATION = "by iteration: "
"""Prefix of quantities that were computed by subspace iteration of as many eigenpairs as there are items."""

_TO_THE_END = Iteration(direct_up_to=0, tolerance=1e-6, rounds=200)
_NAMES = {
    "user_power": "a", "row_power": "b", "input_power": "e", "output_power": "c", "diagonal_power": "g",
    "ridge": "lambda", "feature_weights": "alpha", "smoothing": "s", "k": "k", "order_share": "theta", "window": "L",
    "stride": "stride", "kappa": "kappa", "rho": "rho", "anchor_penalty": "ridge", "anchor_scale": "anchor_scale",
}  # fmt: skip
"""Our setting -> the file's."""


def compare(golden: Golden) -> dict[str, float]:
    """The largest difference of every recorded array, as a share of its largest value."""
    exact = _computed(golden, {"exact_up_to": golden["interactions"].shape[1]}, Iteration())
    found = _computed(golden, {"exact_up_to": 1, "rank": golden["interactions"].shape[1]}, _TO_THE_END)
    both = exact | {f"{BY_ITERATION}{name}": value for name, value in found.items()}
    return {name: _share(value, golden[name.removeprefix(BY_ITERATION)]) for name, value in both.items()}


def _computed(golden: Golden, form: dict[str, Any], iteration: Iteration) -> dict[str, Tensor]:
    """Everything that the file records, by its names."""
    model = _model(golden, form)
    model.iteration = iteration
    identity = torch.eye(golden["interactions"].shape[1])
    with torch.no_grad():
        autoencoder = model.autoencoder(Work())
        model.solution = model.solve(Work())
        factors, parts, anchor = model.factors(), model.parts, model.anchor
    assert anchor is not None
    items = {f"part_scores/{name}": part for name, part in parts.items()}
    items |= {"scores": sum_tensors(parts.values()), "final_scores": factors.item_embeddings}
    items |= {"anchor_scores": anchors(anchor, model.content)}
    scores = {name: factors.user_embeddings @ rows.T / model.scale for name, rows in items.items()}
    linear = {"B0": autoencoder.unsmoothed(identity), "B": autoencoder.times(identity)}
    return linear | scores | {"singular_values": model.solved("singular_values")}


def _model(golden: Golden, form: dict[str, Any]) -> AnchorEASE:
    recorded = json.loads(str(golden["settings"]))
    given = {ours: recorded[theirs] for ours, theirs in _NAMES.items()}
    ours_alone: dict[str, Any] = {"recency_tau": math.inf, "recency_floor": 0.0, "direction": 0.0}
    ours_alone |= {"spectral_power": 0.0, "content_weight": 0.0}
    size = {"embedding_size": int(golden["dimension"])}
    settings = AnchorEASESettings.model_validate(given | ours_alone | size | form)
    users, items = np.nonzero(golden["interactions"])
    inputs = make_inputs(
        users,
        items,
        *golden["interactions"].shape,
        features={m: golden[f"features/{m}"] for m in ("text", "image")},
        settings=settings,
        device=torch.device("cpu"),
        timestamps=golden["order"][users, items].astype(np.int64),
    )
    model = build_model(settings, inputs, batch_size=1, seed=0)
    assert isinstance(model, AnchorEASE)
    return model


def _share(ours: Tensor, theirs: Array) -> float:
    return gap(ours, theirs) / float(np.abs(theirs).max())
