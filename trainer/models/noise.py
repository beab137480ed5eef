"""The random draws of models in training, behind an interface that can also replay recorded draws."""

import torch
from torch import Tensor


class Noise:
    """Draws from torch's generator, which the loop seeds by run and epoch."""

    at_inference = False
    """Whether a model that can be exported without its noise is to draw it all the same."""

    def dropout(self, like: Tensor, rate: float) -> Tensor:
        """A mask of the tensor's shape to multiply by: 0 with probability `rate`, else 1 / (1 - rate)."""
        return (torch.rand_like(like) >= rate).to(like.dtype) / (1.0 - rate)

    def dropout_rows(self, like: Tensor, rows: Tensor, rate: float) -> Tensor:
        """The given rows (B,) of a mask of the whole table's shape, (B, d): repeated rows get the same mask."""
        distinct, places = torch.unique(rows, return_inverse=True)
        drawn = self.dropout(like.new_empty(len(distinct), like.shape[1]), rate)
        return drawn[places]

    def gumbel(self, like: Tensor) -> Tensor:
        """Standard Gumbel noise of the tensor's shape: -log of an exponential variate."""
        return -torch.empty_like(like).exponential_().log()

    def sample(self, log_weights: Tensor, n: int) -> Tensor:
        """n positions drawn without replacement, with probabilities proportional to the remaining weights.

        The n largest of log-weights plus Gumbel noise are such a sample (Gumbel-top-k; Kool et al., 2019). Unlike
        torch.multinomial this has no limit of 2^24 positions.
        """
        return (log_weights + self.gumbel(log_weights)).topk(n, sorted=False).indices
