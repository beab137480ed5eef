"""The arrays of a bundle that predict what training would have learned of an item, from its features alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from index.content import AnchorContent
from trainer.inputs import as_tensor
from trainer.model_settings import SINGLE_MODALITIES
from trainer.model_settings.anchorease import AnchorEASESettings
from trainer.models.anchor_correction import AnchorRegression, anchors
from trainer.models.anchorrec import ANCHOR as FUSED
from trainer.models.base import Anchor, Factors
from trainer.models.content_rows import Content, column_mean

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST_RHO = 2.0
"""Beyond, what features predict of an embedding is too small a share of it to be enlarged to its whole length."""
_DEFAULTS = AnchorEASESettings()


def content_anchor(factors: Factors, features: Mapping[str, Array], degrees: Array) -> AnchorContent | None:
    """What predicts embeddings and fold-in rows from features (n_items, width) by modality; None without features.

    A model without an anchor of its own gets one by the same regression, which moves no trained item (kappa 0).
    degrees: the users of each item (n_items,).
    """
    modalities = _modalities(factors, features)
    if not modalities:
        return None
    content = _content(factors, {modality: features[modality] for modality in modalities})
    scale = {modality: getattr(_DEFAULTS.anchor_scale, modality) for modality in content}
    counts = torch.from_numpy(degrees.astype(np.float32))
    regression = AnchorRegression(content, counts, scale, _DEFAULTS.anchor_penalty)
    anchor = factors.anchor or _fitted(regression, factors.item_embeddings.cpu(), content, counts)
    mean, weights = regression.solve(factors.fold_in.cpu())
    return AnchorContent(
        mean=_array(anchor.mean),
        weights={modality: _array(rows) for modality, rows in anchor.weights.items()},
        centers={modality: _array(center) for modality, center in anchor.centers.items()},
        kappa=anchor.kappa,
        rho=anchor.rho,
        shortest={modality: rows.shortest for modality, rows in content.items()},
        fold_in_mean=_array(mean),
        fold_in_weights={modality: _array(rows) for modality, rows in weights.items()},
    )


def _modalities(factors: Factors, features: Mapping[str, Array]) -> list[str]:
    """Those of the model's own anchor; else text and image where there are any, else the fused features."""
    if factors.anchor is not None:
        return list(factors.anchor.weights)
    singles: list[str] = [modality for modality in SINGLE_MODALITIES if modality in features]
    return singles or [modality for modality in (FUSED,) if modality in features]


def _content(factors: Factors, features: Mapping[str, Array]) -> dict[str, Content]:
    tensors = {modality: as_tensor(rows) for modality, rows in features.items()}
    own = {} if factors.anchor is None else factors.anchor.centers
    centers = {m: own[m].cpu() if m in own else column_mean(rows) for m, rows in tensors.items()}
    return {modality: Content(rows, centers[modality]) for modality, rows in tensors.items()}


def _fitted(
    regression: AnchorRegression, embeddings: Tensor, content: Mapping[str, Content], degrees: Tensor
) -> Anchor:
    """An anchor that is as long as embeddings are: a regression predicts too short ones, which no list would show."""
    mean, weights = regression.solve(embeddings)
    anchor = Anchor(mean, weights, {m: rows.center for m, rows in content.items()}, kappa=0.0, rho=1.0)
    trained = degrees > 0
    lengths = [rows[trained].norm(dim=1) for rows in (embeddings, anchors(anchor, content))]
    if not trained.any() or not (typical := [float(one.median()) for one in lengths])[1]:
        return anchor
    return replace(anchor, rho=min(max(typical[0] / typical[1], 1.0), LARGEST_RHO))


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
