"""The recall of an index against exact search, each user's seen items left out, as the service searches."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from index.item_index import ItemIndex
from index.ranking import exact_search
from index.tables import Table

Array = np.ndarray[Any, Any]
Seen = Callable[[int], Array]  # the item rows that a user row had in training

RECALL_AT = (20, 100)
PROMISED_AT = 20  # the length of the lists that a bundle promises a recall of
# How many queries recall is measured with: as many as take a minute or two of exact search.
MOST_QUERIES, LEAST_QUERIES, MOST_SCORES = 512, 64, 1_000_000_000


def measured_recall(
    index: ItemIndex,
    vectors: Array,
    queries: Table,
    seen: Seen,
    *,
    at: Sequence[int] = RECALL_AT,
    users: Array | None = None,
) -> dict[str, float]:
    """recall@k of the index over `vectors` (n, d) against exact search, by k, for some users' vectors.

    queries: (n_users, d). seen: the rows that a user's search leaves out. users: the user rows to choose from, all by
    default; at most MOST_QUERIES of them are searched for, evenly spaced. Recall is the number of hits divided by the
    most that there could be; 1 where no user has an unseen item.
    """
    users = measured_users(np.arange(len(queries)) if users is None else users, len(vectors))
    picked, excluded = queries[users], [seen(user) for user in users.tolist()]
    lengths = {k: min(k, len(vectors)) for k in at}
    _, exact = exact_search(vectors, picked, max(lengths.values()), excluded)
    recall = {}
    for k, length in lengths.items():
        _, found = index.search(picked, length, excluded)
        hits, possible = count_hits(found, exact[:, :length])
        recall[f"recall@{k}"] = hits / possible if possible else 1.0
    return recall


def count_hits(found: Array, exact: Array) -> tuple[int, int]:
    """The hits of an index, and how many there could be, by the scores of its results and of exact ones, each (m, k).

    A result that scores at least as much as the last exact one is a hit, so that ties are never misses. Padding (-inf)
    is neither a hit nor a miss.
    """
    possible = np.count_nonzero(exact > -np.inf, axis=1)  # (m,)
    last = exact[np.arange(len(exact)), np.maximum(possible, 1) - 1]
    hits = np.count_nonzero((found >= last[:, None]) & (found > -np.inf), axis=1)
    return int(np.minimum(hits, possible).sum()), int(possible.sum())


def measured_users(users: Array, n_vectors: int) -> Array:
    """Those of the user rows whose searches over n_vectors measure a recall, evenly spaced."""
    most = max(LEAST_QUERIES, min(MOST_QUERIES, MOST_SCORES // n_vectors))
    places = np.linspace(0, len(users) - 1, min(len(users), most)).astype(np.int64)
    picked: Array = users[places]
    return picked
