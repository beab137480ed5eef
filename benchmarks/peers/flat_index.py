"""A bundle's vectors in a flat FAISS index, with a filter of seen items: what every peer serves.

The peers import it in their own environments, so it imports only numpy and FAISS.
"""

import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

BUNDLE, PORT = "PEER_BUNDLE", "PEER_PORT"  # environment variables: the bundle to serve, and the port


class FlatIndex:
    """Recommends by inner product: searches as many more items as the user has seen, then drops the seen ones."""

    def __init__(self, bundle: Path) -> None:
        faiss.omp_set_num_threads(1)
        self._users = np.load(bundle / "user_embeddings.npy")  # (n_users, d)
        self._offsets = np.load(bundle / "seen" / "user_offsets.npy")  # (n_users + 1,)
        self._seen = np.load(bundle / "seen" / "user_items.npy")  # (n_interactions,)
        items = np.load(bundle / "item_embeddings.npy")  # (n_items, d)
        self._index = faiss.IndexFlatIP(items.shape[1])
        self._index.add(items)
        self._rows = {f"user-{row}": row for row in range(len(self._users))}
        self._item_ids = [f"item-{row}" for row in range(len(items))]

    def recommend(self, user_id: str, k: int) -> dict[str, Any]:
        """Return the k best unseen items and their scores, ready for JSON."""
        row = self._rows[user_id]
        seen = set(self._seen[self._offsets[row] : self._offsets[row + 1]].tolist())
        scores, rows = self._index.search(self._users[row : row + 1], k + len(seen))
        found = [(i, score) for i, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True) if i not in seen]
        items = [{"item_id": self._item_ids[i], "score": score} for i, score in found[:k]]
        return {"user_id": user_id, "items": items}


def load_index() -> FlatIndex:
    """Load the bundle that the environment names."""
    return FlatIndex(Path(os.environ[BUNDLE]))


def port() -> int:
    """Return the port that the environment names."""
    return int(os.environ[PORT])
