"""Evaluates the bundle that serves on data newer than its own: the figures that a new bundle has to beat."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from index.bundle import Bundle
from index.invariants import fold_in_sums
from index.tables import Table
from trainer.data import Dataset
from trainer.graph import interaction_matrix
from trainer.histories import Histories
from trainer.models.base import inner_products
from trainer.ranking_metrics import Truth, rank_items, ranking_metrics

Array = np.ndarray[Any, np.dtype[Any]]


def evaluate_bundle(bundle: Bundle, dataset: Dataset, ks: Sequence[int]) -> dict[str, float]:
    """Accuracy on the validation split at each k, of the bundle as it would serve these users today.

    Users' vectors are folded in from the data's training interactions, as the service does with new events; a
    user without any gets popular items. Items that the bundle lacks score 0. {} where the validation split is empty.
    """
    valid, train = dataset.split("valid"), dataset.split("train")
    if not len(valid):
        return {}
    users, items = folded_vectors(bundle, dataset)
    truth = Truth.of(valid.user_rows, valid.item_rows, dataset.n_items)
    seen = interaction_matrix(train.user_rows, train.item_rows, dataset.n_users, dataset.n_items)
    ranked = rank_items(inner_products(torch.from_numpy(users), torch.from_numpy(items)), seen, truth.users, max(ks))
    return ranking_metrics(ranked, truth, tuple(ks))


def folded_vectors(bundle: Bundle, dataset: Dataset) -> tuple[Array, Array]:
    """The bundle's vectors for the rows of the dataset, (n_users, d + 1) and (n_items, d + 1) float32.

    The last dimension is popularity, for users without any known item.
    """
    item_rows, user_rows = bundle.item_ids.rows(dataset.item_ids), bundle.user_ids.rows(dataset.user_ids)
    histories = Histories.of(dataset.split("train"), dataset.n_users, dataset.n_items)
    offsets, seen = histories.offsets, histories.items
    has = item_rows[seen] >= 0
    known_offsets = np.concatenate([[0], np.cumsum(has)])[offsets]
    folded = fold_in_sums(bundle.fold_in, known_offsets, item_rows[seen[has]], bundle.recency)  # oldest first
    users = _rows(bundle.user_own, user_rows) + folded
    unchanged = _unchanged(bundle, user_rows, known_offsets, item_rows[seen[has]])
    users[unchanged] = bundle.user_embeddings[user_rows[unchanged]]  # more exact where fold-in is approximate
    items = _rows(bundle.item_embeddings, item_rows)
    popularity = _rows(bundle.popularity_count[:, None], item_rows)
    is_unknown = ~users.any(axis=1, keepdims=True)
    return np.hstack([users, is_unknown]).astype(np.float32), np.hstack([items, popularity]).astype(np.float32)


def _unchanged(bundle: Bundle, user_rows: Array, offsets: Array, items: Array) -> Array:
    """Which users had the same items in the same order in the bundle's training, (m,) bool."""
    ends = zip(user_rows.tolist(), offsets.tolist(), offsets[1:].tolist(), strict=False)
    return np.array([row >= 0 and np.array_equal(bundle.seen(row), items[start:end]) for row, start, end in ends], bool)


def _rows(table: Table, rows: Array) -> Array:
    """Rows of the table; zeros where a row is -1."""
    found: Array = table[np.maximum(rows, 0)]
    found[rows < 0] = 0
    return found
