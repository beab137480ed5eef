"""V-SKNN (Ludewig & Jannach, 2018; docs/models.md#v-sknn): a user's latest items are the session."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from index.errors import InputError
from trainer.histories import Histories
from trainer.model_settings import VSKNNSettings
from trainer.models.base import Factors, Inputs, Scorer
from trainer.models.fitted import FittedModel, Tensors, Work

Array = np.ndarray[Any, np.dtype[Any]]


class VSKNN(FittedModel):
    """Scores an item by the similarity of the nearest users who have it; nearest share the latest items."""

    def __init__(self, settings: VSKNNSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs

    def solve(self, work: Work) -> Tensors:
        """Nothing: the model is the histories themselves."""
        return {}

    def factors(self) -> Factors:
        """There are none: InputError."""
        raise InputError(f"{self._settings.name} has no embeddings: it can be compared, not exported")

    def scorer(self) -> Scorer:
        """Looks up the neighbours of the users asked for."""
        settings, histories, device = self._settings, self._inputs.histories, self._inputs.item_degrees.device
        items, activity = incidence(histories), last_times(histories)
        sessions = latest_items(histories, settings)
        if settings.idf:
            sessions = sessions @ sp.diags(inverse_frequencies(items))
        n_items = np.maximum(np.diff(items.indptr), 1).astype(np.float32)
        similar = sp.diags(n_items**-settings.length_penalty) @ items

        def score(users: Tensor) -> Tensor:
            rows = users.cpu().numpy()
            similarities = without_self((sessions[rows] @ similar.T).tocsr(), rows)
            sampled = keep_largest(similarities, activity[similarities.indices], settings.sample_size)
            nearest = keep_largest(sampled, sampled.data, settings.k)
            return torch.from_numpy((nearest @ items).toarray()).to(device)

        return score


def incidence(histories: Histories) -> sp.csr_matrix:
    """(n_users, n_items) float32: 1 for each item of a user."""
    ones = np.ones(len(histories.items), np.float32)
    shape = (len(histories.offsets) - 1, histories.n_items)
    return sp.csr_matrix((ones, histories.items, histories.offsets), shape=shape)


def inverse_frequencies(items: sp.csr_matrix) -> Array:
    """(n_items,) float32: log(users / users of the item)."""
    degrees = np.bincount(items.indices, minlength=items.shape[1])
    idf: Array = np.log(items.shape[0] / np.maximum(degrees, 1)).astype(np.float32)
    return idf


def latest_items(histories: Histories, settings: VSKNNSettings) -> sp.csr_matrix:
    """(n_users, n_items) float32: the weight of each user's latest items, 1 for the newest."""
    ends = np.repeat(histories.offsets[1:], np.diff(histories.offsets))
    ranks = ends - 1 - np.arange(len(ends))  # number of newer items
    weights = np.where(ranks < settings.max_length, decayed(ranks, settings), 0).astype(np.float32)
    shape = (len(histories.offsets) - 1, histories.n_items)
    matrix = sp.csr_matrix((weights, histories.items, histories.offsets), shape=shape, copy=True)
    matrix.eliminate_zeros()
    return matrix


def decayed(ranks: Array, settings: VSKNNSettings) -> Array:
    """The weight of an item at each number of newer ones below max_length."""
    left = 1 - ranks / settings.max_length
    forms = {
        "none": np.ones(len(ranks)),
        "linear": left,
        "quadratic": left**2,
        "logarithmic": 1 / np.log(ranks + np.e),
        "reciprocal": 1 / (ranks + 1),
    }
    return forms[settings.decay]


def last_times(histories: Histories) -> Array:
    """(n_users,) int64: the time of each user's newest item; users without any are the oldest."""
    newest = np.full(len(histories.offsets) - 1, np.iinfo(np.int64).min)
    has = np.diff(histories.offsets) > 0
    newest[has] = histories.timestamps[histories.offsets[1:][has] - 1]
    return newest


def without_self(similarities: sp.csr_matrix, users: Array) -> sp.csr_matrix:
    """Similarities (m, n_users) of users (m,), none to themselves and none of 0."""
    rows = np.repeat(users, np.diff(similarities.indptr))
    similarities.data[similarities.indices == rows] = 0
    similarities.eliminate_zeros()
    return similarities


def keep_largest(matrix: sp.csr_matrix, keys: Array, n: int) -> sp.csr_matrix:
    """The n entries of each row with the largest keys (nnz,); of equal keys, the later columns."""
    if np.diff(matrix.indptr).max(initial=0) <= n:
        return matrix
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.indices, -keys, rows))
    kept = order[np.arange(len(order)) - matrix.indptr[rows] < n]
    offsets = np.concatenate([[0], np.cumsum(np.minimum(np.diff(matrix.indptr), n))])
    return sp.csr_matrix((matrix.data[kept], matrix.indices[kept], offsets), shape=matrix.shape)
