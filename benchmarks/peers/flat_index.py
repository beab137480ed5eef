"""What every peer serves: a bundle's vectors in a flat FAISS index, without what the user has seen.

Imported by the peers in their own environments, so it knows numpy and FAISS alone.
"""

import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

BUNDLE, PORT = "PEER_BUNDLE", "PEER_PORT"  # environment variables by which a peer is told what to serve, and where


class FlatIndex:
    """Top lists by inner product: fetch as many more as the user has seen, then drop those."""

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
        """What is sent as JSON: the k best items that the user has not seen, with their scores."""
        row = self._rows[user_id]
        seen = set(self._seen[self._offsets[row] : self._offsets[row + 1]].tolist())
        scores, rows = self._index.search(self._users[row : row + 1], k + len(seen))
        found = [(i, score) for i, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True) if i not in seen]
        items = [{"item_id": self._item_ids[i], "score": score} for i, score in found[:k]]
        return {"user_id": user_id, "items": items}


def load_index() -> FlatIndex:
    """Of the bundle that this process is told to serve."""
    return FlatIndex(Path(os.environ[BUNDLE]))


def port() -> int:
    """Where this process is told to listen."""
    return int(os.environ[PORT])
