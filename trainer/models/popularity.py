"""Popularity, the baseline that every recommender must beat."""

import torch
from torch import Tensor

from trainer.models.base import Factors, Inputs, RecommenderModel
from trainer.parallel import WHOLE, Share


class Popularity(RecommenderModel):
    """Scores an item by its number of training users, the same for all users; nothing is learned."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self._users = torch.ones(inputs.n_users, 1, device=inputs.item_degrees.device)
        self._items = inputs.item_degrees[:, None].float()

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """No terms: there is nothing to train."""
        return {}

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """One dimension: 1 for each user, the count for each item."""
        return self._users, self._items

    def factors(self) -> Factors:
        """The count is the item's only part; users are all alike."""
        return Factors(self._users, {"id": self._items}, self._users, torch.zeros_like(self._items))
