"""EASE: the item-item matrix of zero diagonal that reproduces the users' items best under a ridge penalty."""

import torch
from torch import Tensor

from trainer.model_settings import EASESettings
from trainer.models.base import Inputs
from trainer.models.item_item import ItemItemModel, Matrix
from trainer.parallel import sum_over_ranks


class EASE(ItemItemModel):
    """Steck (2019), equation 8."""

    def __init__(self, settings: EASESettings, inputs: Inputs, *, seed: int) -> None:
        super().__init__(settings, inputs, seed=seed)
        self._ridge = settings.ridge

    def item_item(self) -> dict[str, Matrix]:
        """Dense, and the ID's alone."""
        x = self._inputs.histories.binary()
        common = torch.from_numpy((x.T @ x).toarray()).to(self._inputs.item_degrees.device)
        common = sum_over_ranks(self._inputs.share, common)
        return {"id": autoencoder(common, self._ridge)}


def autoencoder(common: Tensor, ridge: float) -> Tensor:
    """B_ij = -P_ij / P_jj off the diagonal for P = (X^T X + ridge I)^-1; `common` = X^T X (n, n) is overwritten."""
    common.diagonal().add_(ridge)
    precision = torch.linalg.cholesky(common, out=common)
    precision = torch.cholesky_inverse(precision)
    precision /= -precision.diagonal().clone()
    precision.fill_diagonal_(0)
    return precision
