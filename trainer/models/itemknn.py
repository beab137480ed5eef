"""ItemKNN: an item scores by its similarity to the user's items, of which its k most similar count."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.nearest_neighbours import bm25_weight, tfidf_weight

from trainer.model_settings import ItemKNNSettings
from trainer.models.base import Inputs
from trainer.models.item_item import ItemItemModel, Matrix
from trainer.progress import track

Array = np.ndarray[Any, np.dtype[Any]]

_WEIGHTS = {"none": lambda matrix: matrix, "tf-idf": tfidf_weight, "bm25": bm25_weight}
_PAIRS_AT_ONCE = 20_000_000
"""Similarities in memory at a time (a quarter of a GB)."""


class ItemKNN(ItemItemModel):
    """Neighbours by the cosine of interactions with shrinkage; Ferrari Dacrema et al. (2019), section 3.2."""

    def __init__(self, settings: ItemKNNSettings, inputs: Inputs, *, seed: int) -> None:
        super().__init__(settings, inputs, seed=seed)
        self._settings = settings

    def item_item(self) -> dict[str, Matrix]:
        """Sparse, and the ID's alone."""
        rows = self._inputs.histories.binary().T.tocsr()  # (n_items, n_users)
        weighted = sp.csr_matrix(_WEIGHTS[self._settings.weighting](rows), dtype=np.float32)
        return {"id": most_similar(weighted, self._settings).T.tocsr()}


def most_similar(rows: sp.csr_matrix, settings: ItemKNNSettings) -> sp.csr_matrix:
    """(n, n) in each row the k largest r_i.r_j / (|r_i| |r_j| + shrink) above 0, i != j; ties by lower j.

    Args:
        rows: (n, width), a row an item.
        settings: without `normalise` the similarity is r_i.r_j.
    """
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    transposed, n = rows.T.tocsr(), rows.shape[0]
    step = max(_PAIRS_AT_ONCE // n, 1)
    blocks = []
    for start in track(range(0, n, step), settings.name):
        similar = sp.csr_matrix(rows[start : start + step] @ transposed)
        similar.sort_indices()
        own = start + np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
        if settings.normalise:
            similar.data /= lengths[own] * lengths[similar.indices] + settings.shrink
        similar.data[own == similar.indices] = 0
        blocks.append(_largest(similar, settings.k))
    return sp.vstack(blocks, format="csr")


def _largest(similar: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest positive values of each row, whose columns ascend."""
    similar.eliminate_zeros()
    counts = np.diff(similar.indptr)
    row = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-similar.data, row))  # stable
    rank = np.arange(len(order)) - similar.indptr[row]
    kept = order[rank < k]
    return sp.csr_matrix((similar.data[kept], (row[kept], similar.indices[kept])), shape=similar.shape)
