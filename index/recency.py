"""How the weight of a past item falls with the number of events since."""

import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from index.frozen_model import FrozenModel

Array = np.ndarray[Any, Any]


class Recency(FrozenModel):
    """w = floor + (1 - floor) · exp(-rank / tau) at a rank counted in events; the newest item has rank 0."""

    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def half_life(self) -> float:
        """Events after which the part of a weight above the floor has halved."""
        return self.tau * math.log(2)

    def weights(self, n: int) -> Array:
        """(n,) float32, oldest first."""
        return self.at(np.arange(n - 1, -1, -1))

    def at(self, ranks: Array) -> Array:
        """The weights at these ranks, float32."""
        weights: Array = (self.floor + (1 - self.floor) * np.exp(-ranks / self.tau)).astype(np.float32)
        return weights


def past_weights(offsets: Array, recency: Recency | None) -> Array:
    """(t,) float32 weights of all past items of the users of `offsets` (n_users + 1,), each user's oldest first.

    Without recency all are 1.
    """
    total = int(offsets[-1] - offsets[0])
    if recency is None:
        return np.ones(total, np.float32)
    ends = np.repeat(offsets[1:], np.diff(offsets)) - offsets[0]
    return recency.at(ends - 1 - np.arange(total))
