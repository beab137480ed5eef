"""The anchor correction of AnchorEASE: what an item's content alone predicts its embedding to be."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from trainer.models.base import Anchor, sum_tensors
from trainer.models.content_rows import Content


class AnchorRegression:
    """Ridge regression of item embeddings on their content, in which an item counts by the root of its users."""

    def __init__(
        self, content: Mapping[str, Content], degrees: Tensor, scale: Mapping[str, float], penalty: float
    ) -> None:
        """Content by modality, each (n_items, width) and times its scale; the users of each item (n_items,)."""
        weights = degrees.sqrt()
        self._weights = weights / weights.mean().clamp_min(torch.finfo(weights.dtype).tiny)
        self._content, self._scale = content, scale
        normal = sum_tensors(rows.T @ (self._weights[part, None] * rows) for part, rows in self._scaled_rows())
        normal.diagonal().add_(penalty)
        self._factor = torch.linalg.cholesky(normal)

    def solve(self, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """mu (d,), the weighted mean of the embeddings (n_items, d), and W' (width, d) of each modality."""
        mean = (self._weights @ embeddings) / self._weights.sum().clamp_min(torch.finfo(embeddings.dtype).tiny)
        crossed = sum_tensors(
            rows.T @ (self._weights[part, None] * (embeddings[part] - mean)).double()
            for part, rows in self._scaled_rows()
        )
        solved = torch.cholesky_solve(crossed, self._factor).to(embeddings)
        parts = torch.split(solved, [rows.shape[1] for rows in self._content.values()])
        return mean, {m: self._scale[m] * part for m, part in zip(self._content, parts, strict=True)}

    def _scaled_rows(self) -> Iterator[tuple[slice, Tensor]]:
        """The columns of all modalities side by side in float64, a block of rows at a time."""
        for blocks in zip(*(rows.blocks() for rows in self._content.values()), strict=True):
            scaled = [self._scale[m] * rows.double() for m, (_, rows) in zip(self._content, blocks, strict=True)]
            yield blocks[0][0], torch.cat(scaled, dim=1)


def anchors(anchor: Anchor, content: Mapping[str, Content]) -> Tensor:
    """(n_items, d): mu + sum_m F_m W'_m."""
    first, *others = anchor.weights.items()
    total = content[first[0]] @ first[1]
    for modality, weights in others:
        total += content[modality] @ weights
    return total.add_(anchor.mean)


def anchor_shares(degrees: Tensor, kappa: float) -> Tensor:
    """lambda_i = kappa / (kappa + n_i) (n_items, 1): 1 for an item without interactions."""
    return (kappa / (kappa + degrees.float()))[:, None]
