"""The anchor correction of AnchorEASE: what an item's content alone predicts its embedding to be."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from trainer.models.base import Anchor, sum_tensors
from trainer.models.spectral import gram

_SMALLEST = 1e-5
"""Length of a centred row, beside the mean length, below which the row is the mean itself and has no direction."""


def column_mean(features: Tensor) -> Tensor:
    """(width,) what features are centred by."""
    return features.mean(dim=0)


def content_rows(features: Tensor, center: Tensor) -> Tensor:
    """F (n_items, width): features less the column mean, rows of unit length; zero where the item has the mean."""
    centred = features - center
    lengths = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    centred.div_(lengths.clamp_min(torch.finfo(lengths.dtype).tiny))
    centred.masked_fill_(lengths <= _SMALLEST * lengths.mean(), 0)
    return centred


class ContentRows(Mapping[str, Tensor]):
    """The content rows of each modality, made on access: memory holds those of one modality at a time."""

    def __init__(self, features: Mapping[str, Tensor], centers: Mapping[str, Tensor]) -> None:
        self._features, self._centers = features, centers

    def __getitem__(self, modality: str) -> Tensor:
        return content_rows(self._features[modality], self._centers[modality])

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)


class AnchorRegression:
    """Ridge regression of item embeddings on their content, in which an item counts by the root of its users."""

    def __init__(
        self, content: Mapping[str, Tensor], degrees: Tensor, scale: Mapping[str, float], penalty: float
    ) -> None:
        """Content by modality, each (n_items, width) and times its scale; the users of each item (n_items,)."""
        weights = degrees.sqrt()
        self._weights = weights / weights.mean().clamp_min(torch.finfo(weights.dtype).tiny)
        self._content, self._scale = content, scale
        blocks = [
            torch.cat([scale[m] * scale[o] * gram(rows, others, self._weights) for o, others in content.items()], dim=1)
            for m, rows in content.items()
        ]
        normal = torch.cat(blocks)
        normal.diagonal().add_(penalty)
        self._factor = torch.linalg.cholesky(normal)

    def solve(self, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """mu (d,), the weighted mean of the embeddings (n_items, d), and W' (width, d) of each modality."""
        mean = (self._weights @ embeddings) / self._weights.sum().clamp_min(torch.finfo(embeddings.dtype).tiny)
        rest = self._weights[:, None] * (embeddings - mean)
        crossed = torch.cat([self._scale[m] * gram(rows, rest) for m, rows in self._content.items()])
        solved = torch.cholesky_solve(crossed, self._factor).to(embeddings)
        parts = torch.split(solved, [rows.shape[1] for rows in self._content.values()])
        return mean, {m: self._scale[m] * part for m, part in zip(self._content, parts, strict=True)}


def anchors(anchor: Anchor, content: Mapping[str, Tensor]) -> Tensor:
    """(n_items, d): mu + sum_m F_m W'_m."""
    return sum_tensors(content[modality] @ weights for modality, weights in anchor.weights.items()) + anchor.mean


def anchor_shares(degrees: Tensor, kappa: float) -> Tensor:
    """lambda_i = kappa / (kappa + n_i) (n_items, 1): 1 for an item without interactions."""
    return (kappa / (kappa + degrees.float()))[:, None]
