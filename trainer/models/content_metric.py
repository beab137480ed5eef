"""A change of metric: the same scores from item embeddings that stand nearer each other where content agrees."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.models.base import Anchor, sum_tensors
from trainer.models.content_rows import Content
from trainer.models.gram import gram

_PENALTY = 0.01
"""Of the ridge regression, beside the mean square of a column."""
_SCALE = {"text": 1.0, "image": 2.0, "multimodal": 1.0}
"""How much each modality's likeness counts: embeddings say less of pictures than of texts."""
_SMALLEST = torch.finfo(torch.float32).tiny


class ContentMetric(NamedTuple):
    """M, which what sums to item embeddings is multiplied by, and M^-1, for what scores them; both symmetric."""

    items: Tensor  # (d, d)
    users: Tensor  # (d, d)

    def moved(self, anchor: Anchor) -> Anchor:
        """What predicts item embeddings, in this metric."""
        weights = {modality: weight @ self.items for modality, weight in anchor.weights.items()}
        return replace(anchor, mean=anchor.mean @ self.items, weights=weights)


def content_metric(embeddings: Tensor, content: Mapping[str, Content], weight: float) -> ContentMetric:
    """M M = I + weight G / mean eigenvalue of G: the inner products of items, and of the content read out of them.

    Args:
        embeddings: (n_items, d).
        content: (n_items, width) by modality.
        weight: 0 changes nothing.
    """
    values, vectors = torch.linalg.eigh(_likeness(embeddings, content))
    values = values.clamp_min(0)
    stretch = (1 + weight * values / values.mean().clamp_min(_SMALLEST)).sqrt()
    items, users = ((vectors * each) @ vectors.T for each in (stretch, 1 / stretch))
    return ContentMetric(items.to(embeddings), users.to(embeddings))


def _likeness(embeddings: Tensor, content: Mapping[str, Content]) -> Tensor:
    """G = sum_m scale_m^2 B_m B_m^T (d, d) in float64, B_m the ridge regression of content on embeddings."""
    normal = gram(embeddings, embeddings)
    normal.diagonal().add_(_PENALTY * normal.diagonal().mean().clamp_min(_SMALLEST))
    factor = torch.linalg.cholesky(normal)
    crossed = (_SCALE[m] * rows.transposed_times(embeddings).T.double() for m, rows in content.items())  # (d, width)
    return sum_tensors(b @ b.T for b in (torch.cholesky_solve(each, factor) for each in crossed))
