"""Full-ranking evaluation: pure functions of embeddings, ranked rows and truth (docs/evaluation.md)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

_SCORES_AT_ONCE = 50_000_000
"""Entries of the score matrix held at a time (200 MB)."""


def rank_items(score: Callable[[Tensor], Tensor], seen: sp.csr_matrix, users: Array, k: int) -> Array:
    """Each user's k best items, those seen left out.

    Args:
        score: scores (m, n_items) of user rows (m,).
        seen: (n_users, n_items) CSR; its nonzeros are never ranked.
        users: (m,) user rows.
        k: at most n_items are returned.

    Returns:
        Item rows (m, min(k, n_items)) int64, best first; -1 fills up where a user has fewer unseen items than k.
    """
    n_items = seen.shape[1]
    k, step = min(k, n_items), max(_SCORES_AT_ONCE // n_items, 1)
    blocks = [_rank_block(score, seen, users[start : start + step], k) for start in range(0, len(users), step)]
    return np.concatenate(blocks) if blocks else np.empty((0, k), dtype=np.int64)


def _rank_block(score: Callable[[Tensor], Tensor], seen: sp.csr_matrix, users: Array, k: int) -> Array:
    scores = score(torch.from_numpy(users))
    rows, items = seen[users].nonzero()
    at = (torch.from_numpy(rows).to(scores.device), torch.from_numpy(items).to(scores.device))
    scores[at] = -torch.inf
    best = scores.topk(k, dim=1)
    ranked: Array = best.indices.masked_fill(best.values == -torch.inf, -1).cpu().numpy()
    return ranked


@dataclass(frozen=True)
class Truth:
    """Held-out items per evaluated user, in CSR form."""

    users: Array
    """(m,) user rows with at least one held-out item."""
    items: sp.csr_matrix
    """(m, n_items) 1 where held out."""

    @classmethod
    def of(cls, user_rows: Array, item_rows: Array, n_items: int) -> "Truth":
        """Group held-out pairs by user."""
        users, index = np.unique(user_rows, return_inverse=True)
        ones = np.ones(len(user_rows), dtype=np.float32)
        matrix = sp.csr_matrix((ones, (index, item_rows)), shape=(len(users), n_items))
        matrix.data[:] = 1.0
        return cls(users, matrix)

    @property
    def counts(self) -> Array:
        """(m,) held-out items of each user."""
        return np.diff(self.items.indptr)

    def within(self, chosen: Array) -> "Truth":
        """The same users with only those held-out items that `chosen` (n_items,) bool names."""
        items = self.items.multiply(chosen).tocsr()
        items.eliminate_zeros()
        return Truth(self.users, items)


def hits(ranked: Array, truth: Truth) -> Array:
    """(m, k) 1.0 where the item at that rank is held out for that user; ranks filled with -1 are misses."""
    rows = np.repeat(np.arange(len(ranked)), ranked.shape[1])
    found = np.asarray(truth.items[rows, ranked.ravel()], dtype=np.float64).reshape(ranked.shape)
    return found * (ranked >= 0)


def ranking_metrics(ranked: Array, truth: Truth, ks: tuple[int, ...]) -> dict[str, float]:
    """The metrics of `per_user_metrics` at each k, averaged over the users of `truth`; 0 without users.

    Args:
        ranked: (m, at least max(ks)) item rows, best first; a shorter list counts as if padded with misses.
        truth: the same m users.
        ks: list lengths.
    """
    per_user = per_user_metrics(hits(ranked, truth), truth.counts, ks)
    return {name: float(values.mean()) if len(values) else 0.0 for name, values in per_user.items()}


def per_user_metrics(hit: Array, n_held_out: Array, ks: tuple[int, ...]) -> dict[str, Array]:
    """The metrics of docs/evaluation.md#metrics at each k of each user, before averaging, each (m,).

    Args:
        hit: (m, k_max) from `hits`.
        n_held_out: (m,) L, the number of held-out items; at least 1.
        ks: list lengths.
    """
    longest = hit.shape[1]  # a list of k items ends here where the catalogue does
    ranks = np.arange(1, longest + 1)
    n_hits = hit.cumsum(axis=1)
    dcg = (hit * (1.0 / np.log2(ranks + 1))).cumsum(axis=1)
    most = int(min(max(ks), n_held_out.max(initial=1)))
    ideal = (1.0 / np.log2(np.arange(1, most + 1) + 1)).cumsum()
    precision_at_hits = (hit * n_hits / ranks).cumsum(axis=1)
    first_hit = np.where(n_hits[:, -1] > 0, hit.argmax(axis=1) + 1, np.inf)
    metrics: dict[str, Array] = {}
    for k in ks:
        attainable, last = np.minimum(n_held_out, k), min(k, longest) - 1
        metrics[f"recall@{k}"] = n_hits[:, last] / n_held_out
        metrics[f"ndcg@{k}"] = dcg[:, last] / ideal[attainable - 1]
        metrics[f"precision@{k}"] = n_hits[:, last] / k
        metrics[f"map@{k}"] = precision_at_hits[:, last] / attainable
        metrics[f"mrr@{k}"] = np.where(first_hit <= k, 1 / first_hit, 0.0)
        metrics[f"hit@{k}"] = (first_hit <= k).astype(np.float64)
    return metrics


def slice_metrics(ranked: Array, truth: Truth, chosen: Array, ks: tuple[int, ...]) -> dict[str, Array]:
    """recall and ndcg at each k as if only the chosen items had been held out; the lists stay what they were.

    Args:
        ranked: (m, k) item rows.
        truth: the same m users.
        chosen: (n_items,) bool, the slice.
        ks: list lengths.

    Returns:
        Each (m,), NaN for users without held-out items in the slice.
    """
    restricted = truth.within(chosen)
    concerned = restricted.counts > 0
    values = per_user_metrics(hits(ranked, restricted)[concerned], restricted.counts[concerned], ks)
    metrics = {name: np.full(len(ranked), np.nan) for name in values if name.startswith(("recall", "ndcg"))}
    for name, spread in metrics.items():
        spread[concerned] = values[name]
    return metrics
