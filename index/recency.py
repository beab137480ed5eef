"""How much a past item counts by its recency: one notion for trainer, bundle and service.

    w(rank) = floor + (1 - floor) · exp(-rank / tau),   rank 0 = the newest, counted in events

`None` in place of a Recency means that all past items count alike.
"""

import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from index.frozen_model import FrozenModel

Array = np.ndarray[Any, Any]


class Recency(FrozenModel):
    """The weight of a past item by how many events followed it; the newest counts 1, the oldest at least `floor`."""

    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # in events
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def half_life(self) -> float:
        """The number of events after which the part above the floor has halved."""
        return self.tau * math.log(2)

    def weights(self, n: int) -> Array:
        """The weights of n past items, oldest first, (n,) float32."""
        return self.at(np.arange(n - 1, -1, -1))

    def at(self, ranks: Array) -> Array:
        """The weight at each rank, of the shape of `ranks`, float32."""
        weights: Array = self.floor + (1 - self.floor) * np.exp(-ranks / self.tau)
        return weights.astype(np.float32)


def past_weights(offsets: Array, recency: Recency | None) -> Array:
    """The weights of the past items of m users, each user's oldest first, for CSR `offsets` (m + 1,); (t,) float32."""
    if recency is None:
        return np.ones(offsets[-1] - offsets[0], np.float32)
    ends = np.repeat(offsets[1:], np.diff(offsets))  # (t,)
    return recency.at(ends - 1 - np.arange(offsets[0], offsets[-1]))
