"""Scores of all items for all users: by a bundle and its content path, and by the baselines."""

from typing import Any

import numpy as np

from benchmarks.cold_items.hiding import PreparedData
from index.bundle import Bundle
from index.ranking import unit_rows

Array = np.ndarray[Any, Any]

CONTENT = ("text", "image")  # modalities of the content baseline


def anchor_embeddings(bundle: Bundle, data: PreparedData, rows: Array) -> Array:
    """The embeddings (n, d) of items without interactions, by docs/bundle.md from raw features alone."""
    anchor = bundle.anchor
    if anchor is None:
        raise ValueError(f"bundle {bundle.bundle_id} has no anchor")
    predicted = np.tile(anchor.mean, (len(rows), 1))
    for modality, weights in anchor.weights.items():
        predicted += unit_rows(data.features[modality][rows] - anchor.centers[modality]) @ weights
    embeddings: Array = (anchor.rho * predicted).astype(np.float32)
    return embeddings


def bundle_scores(bundle: Bundle, data: PreparedData) -> Array:
    """Scores (n_users, n_items) of the model: learned embeddings where the bundle has them, else the content path."""
    items = np.empty((data.n_items, bundle.item_embeddings.shape[1]), np.float32)
    rows = bundle.item_ids.rows(data.items["item_id"].to_list())
    known, cold = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    items[known] = bundle.item_embeddings[rows[known]]
    if len(cold):
        items[cold] = anchor_embeddings(bundle, data, cold)
    users = bundle.user_ids.rows(data.user_ids)
    scores: Array = bundle.user_embeddings[users] @ items.T
    return scores


def content_scores(data: PreparedData, hidden: Array) -> Array:
    """Cosines of items with the mean of the unit text and image features of a user's visible past items."""
    items = unit_rows(np.hstack([unit_rows(data.features[m]) for m in CONTENT if m in data.features]))
    users, past = visible_past(data, hidden)
    profiles = np.zeros((len(data.user_ids), items.shape[1]), np.float32)
    np.add.at(profiles, users, items[past])
    scores: Array = unit_rows(profiles) @ items.T
    return scores


def popular_scores(data: PreparedData, hidden: Array, rng: np.random.Generator) -> Array:
    """Training interactions of each item, the same for all users, none of hidden items; ties by chance."""
    _, past = visible_past(data, hidden)
    counts = np.bincount(past, minlength=data.n_items) + rng.random(data.n_items)
    return np.tile(counts.astype(np.float32), (len(data.user_ids), 1))


def random_scores(data: PreparedData, rng: np.random.Generator) -> Array:
    """Chance."""
    return rng.random((len(data.user_ids), data.n_items), dtype=np.float32)


def visible_past(data: PreparedData, hidden: Array) -> tuple[Array, Array]:
    """User and item rows of the training interactions without those of hidden items."""
    users, items = data.pairs(train=True)
    seen = ~np.isin(items, hidden)
    return users[seen], items[seen]
