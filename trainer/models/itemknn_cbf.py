"""ItemKNN-CBF: an item scores by how much its features are like those of the user's items."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from index.ranking import unit_rows
from trainer.model_settings import ItemKNNCBFSettings
from trainer.models.base import Inputs, available_modalities
from trainer.models.item_item import ItemItemModel, Matrix
from trainer.models.itemknn import Array
from trainer.nearest import nearest_items

_ITEMS_AT_ONCE = 4096


class ItemKNNCBF(ItemItemModel):
    """Neighbours by the cosine of weighted features side by side, whose parts are the modalities.

    Rows have unit length, which leaves shrinkage nothing to do; Ferrari Dacrema et al. (2019), section 3.2.
    """

    def __init__(self, settings: ItemKNNCBFSettings, inputs: Inputs, *, seed: int) -> None:
        super().__init__(settings, inputs, seed=seed)
        self._settings = settings

    def item_item(self) -> dict[str, Matrix]:
        """Sparse, a part a modality."""
        features = self._scaled()
        nearest = nearest_items(np.hstack(list(features.values())), self._settings.k + 1)
        near, cosines = nearest.rows[:, 1:], nearest.cosines[:, 1:]  # the first is the item itself
        alike, n = cosines > 0, self._inputs.n_items
        at = (near[alike], np.repeat(np.arange(n), alike.sum(axis=1)))
        return {
            name: sp.csr_matrix((values[alike], at), shape=(n, n))
            for name, values in _shares(features, near, cosines).items()
        }

    def _scaled(self) -> dict[str, Array]:
        """Features (n_items, width) by modality; side by side they are rows of unit length, or zero."""
        names = available_modalities(self._settings.modalities, self._inputs)
        image, others = self._settings.image_share, [name for name in names if name != "image"]
        shares = {name: image if name == "image" else (1 - image) / len(others) for name in names}
        tables = {}
        for name in names:
            table = self._inputs.features[name].cpu().numpy()
            table = table - table.mean(axis=0) if self._settings.centre else table
            tables[name] = unit_rows(table) * np.float32(np.sqrt(shares[name] if others else 1))
        length = np.sqrt(sum((table**2).sum(axis=1, keepdims=True) for table in tables.values()))
        return {name: table / np.maximum(length, np.float32(1e-12)) for name, table in tables.items()}


def _shares(features: Mapping[str, Array], near: Array, cosines: Array) -> dict[str, Array]:
    """What each modality adds to the cosines (n_items, k) with the items of `near`."""
    *others, last = features
    shares = {name: _products(features[name], near) for name in others}
    return {**shares, last: cosines - sum(shares.values())}


def _products(table: Array, near: Array) -> Array:
    """(n_items, k) inner products of each row (n_items, width) with those of `near`."""
    products = np.empty(near.shape, np.float32)
    for start in range(0, len(table), _ITEMS_AT_ONCE):
        own = slice(start, start + _ITEMS_AT_ONCE)
        for rank in range(near.shape[1]):  # one neighbour a time: no copy of the features k times as large
            products[own, rank] = np.einsum("nw,nw->n", table[own], table[near[own, rank]])
    return products
