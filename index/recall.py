"""The recall of an index against exact search, each user's seen items left out, as the service searches."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from index.item_index import ItemIndex
from index.ranking import exact_search, rounding_error
from index.tables import Table

Array = np.ndarray[Any, Any]
Seen = Callable[[int], Array]  # the item rows that a user row had in training

RECALL_AT = (20, 100)
PROMISED_AT = 20  # the length of the lists that a bundle promises a recall of
# How many queries recall is measured with: as many as take a minute or two of exact search.
MOST_QUERIES, LEAST_QUERIES, MOST_SCORES = 512, 64, 1_000_000_000
_FLOATS_AT_ONCE = 4_000_000  # of vectors that one step of `hits_of` reads


def measured_recall(
    index: ItemIndex,
    vectors: Array,
    queries: Table,
    seen: Seen,
    *,
    at: Sequence[int] = RECALL_AT,
) -> dict[str, float]:
    """recall@k of the index over `vectors` (n, d) against exact search, by k, for some users' vectors.

    queries: (n_users, d), of which at most MOST_QUERIES are searched for, evenly spaced. seen: the rows that a user's
    search leaves out.
    """
    users = measured_users(len(queries), len(vectors))
    picked, excluded = queries[users], [seen(user) for user in users.tolist()]
    lengths = {k: min(k, len(vectors)) for k in at}
    _, exact = exact_search(vectors, picked, max(lengths.values()), excluded)
    recall = {}
    for k, length in lengths.items():
        _, found = index.search(picked, length, excluded)
        recall[f"recall@{k}"] = recall_of(found, exact[:, :length])
    return recall


def recall_of(found: Array, exact: Array) -> float:
    """The hits divided by the most that there could be, of scores as in `count_hits`; 1 where there could be none."""
    hits, possible = count_hits(found, exact)
    return hits / possible if possible else 1.0


def count_hits(found: Array, exact: Array) -> tuple[int, int]:
    """The hits of an index, and how many there could be, by the scores of its results and of exact ones, each (m, k).

    A result that scores at least as much as the last exact one is a hit, so that ties are never misses. Padding (-inf)
    is neither a hit nor a miss.
    """
    possible = np.count_nonzero(exact > -np.inf, axis=1)  # (m,)
    last = exact[np.arange(len(exact)), np.maximum(possible, 1) - 1]
    hits = np.count_nonzero((found >= last[:, None]) & (found > -np.inf), axis=1)
    return int(np.minimum(hits, possible).sum()), int(possible.sum())


def measured_users(n_users: int, n_vectors: int) -> Array:
    """The user rows, evenly spaced, whose searches over n_vectors measure a recall."""
    most = max(LEAST_QUERIES, min(MOST_QUERIES, MOST_SCORES // n_vectors))
    return np.linspace(0, n_users - 1, min(n_users, most)).astype(np.int64)


def is_exact(index: ItemIndex) -> bool:
    """Whether the index finds what exact search finds, so that its recall is 1."""
    return index.engine.exact and index.engine.exhaustive


class OneSearch(NamedTuple):
    """A search of an index for one query, and what it found."""

    searched: ItemIndex
    query: Array  # (d,)
    k: int
    exclude: Array
    within: Array | None
    scores: Array  # (<= k,) best first, without padding


def hits_of(search: OneSearch, *, at: int, go_on: Callable[[], bool]) -> tuple[int, int] | None:
    """The hits among the first `at` results of a search, and how many there could be.

    All vectors are scored in blocks of some milliseconds; `go_on` is called after each, and the result is None once it
    says no. Scores are compared to within their rounding error.
    """
    index, query, within, k = search.searched, search.query, search.within, min(search.k, at)
    n, at_once = len(index) if within is None else len(within), max(1, _FLOATS_AT_ONCE // len(query))
    left_out, best = np.concatenate([search.exclude, index.hidden]), np.empty(0, np.float32)
    for start in range(0, n, at_once):
        here = slice(start, min(start + at_once, n))
        rows = np.arange(here.start, here.stop) if within is None else within[here]
        vectors = index.vectors[here] if within is None else index.vectors[rows]  # a view, where it can be
        best = _best(best, vectors @ query, rows, left_out, k)
        if not go_on():
            return None
    if not len(best):
        return 0, 0
    error = rounding_error(query[None], index.norm)
    return count_hits(search.scores[None, :k] + error, -np.sort(-best)[None])


def _best(best: Array, scores: Array, rows: Array, left_out: Array, k: int) -> Array:
    """The k largest of the scores so far and those of these rows (b,), in any order, without the rows left out."""
    worst = best.min() if len(best) == k else -np.inf
    better = np.flatnonzero(scores > worst)
    better = better[~np.isin(rows[better], left_out)]
    merged = np.concatenate([best, scores[better]])
    found: Array = np.partition(merged, len(merged) - k)[-k:] if len(merged) > k else merged
    return found
