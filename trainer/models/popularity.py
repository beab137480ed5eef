"""Popularity, the baseline that every recommender must beat."""

import math

import torch

from trainer.model_settings import PopularitySettings
from trainer.models.base import Factors, Inputs
from trainer.models.fitted import FittedModel, Tensors, Work


class Popularity(FittedModel):
    """Scores an item by its number of training users, the same for all users; older ones may count less."""

    def __init__(self, settings: PopularitySettings, inputs: Inputs) -> None:
        super().__init__()
        self._inputs, self._half_life_days = inputs, settings.half_life_days

    def solve(self, work: Work) -> Tensors:
        """One dimension: the count of each item."""
        if math.isinf(self._half_life_days):
            return {"items": self._inputs.item_degrees[:, None].float()}
        counts = torch.from_numpy(self._inputs.histories.decayed_counts(self._half_life_days))
        return {"items": counts[:, None].float().to(self._inputs.item_degrees.device)}

    def factors(self) -> Factors:
        """The count is the item's only part; users are all alike."""
        items = self.solved("items")
        users = torch.ones(self._inputs.n_users, 1, device=items.device)
        return Factors(users, {"id": items}, users, torch.zeros_like(items))
