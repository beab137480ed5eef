"""Exact search by matrix products: the scores of all rows, then only the groups of rows that can hold a best one.

numpy brings a newer BLAS than FAISS's wheel does, and no list of the best is maintained row by row
(docs/measurements/search.md).
"""

import numpy as np

from index.engine import Engine
from index.ranking import Array, best_of, empty_result, exact_search

GROUP = 32  # rows of which first only the best score is compared
PRODUCT_ROWS = 512  # of one matrix product: BLAS reads so few where they lie, and would first copy more of them
QUERIES_AT_ONCE = 32
SCORES_AT_ONCE = 4_000_000  # in memory, 16 MB; where one query has more, that query's
MORE_CANDIDATES = 64  # than k, whose vectors are read together; a query with more near ties is searched alone


def scans_blocks(engine: Engine, n: int, k: int) -> bool:
    """Whether this search scores every row anyway, and has as many groups as it is to return rows."""
    return engine.plain and engine.device == "cpu" and has_groups(n, k)


def has_groups(n: int, k: int) -> bool:
    """Whether n rows have as many groups as a search is to return rows."""
    return k <= _n_groups(n)


def scan_blocks(
    vectors: Array, queries: Array, k: int, *, excluded: list[Array], hidden: Array, error: Array
) -> tuple[Array, Array]:
    """ItemIndex.search for queries (m, d) over vectors (n, d): rows (m, k) and scores (m, k).

    excluded: the rows that each query leaves out; hidden: those that all do. error (m,) bounds by how much two ways of
    summing a score may differ.
    """
    rows, scores = empty_result(len(queries), k)
    at_once = max(1, min(QUERIES_AT_ONCE, SCORES_AT_ONCE // len(vectors)))
    for start in range(0, len(queries), at_once):
        here = slice(start, start + at_once)
        groups = _scored_groups(vectors, queries[here], excluded[here], hidden)
        candidates, allowed, crowded = _padded_candidates(*_near_best(groups, k, 2 * error[here]), k, len(groups[0, 0]))
        rows[here], scores[here] = best_of(candidates, allowed, vectors, queries[here], k)
        for place in (start + crowded).tolist():
            left_out = np.concatenate([excluded[place], hidden])
            rows[place, None], scores[place, None] = exact_search(vectors, queries[place], k, left_out)
    return rows, scores


def _n_groups(n: int) -> int:
    return -(-n // GROUP)


def _scored_groups(vectors: Array, queries: Array, excluded: list[Array], hidden: Array) -> Array:
    """Scores (GROUP, groups, m), of which [i, j] belong to row i * groups + j; -inf where a row may not be returned."""
    n, m = len(vectors), len(queries)
    scores = np.empty((_n_groups(n) * GROUP, m), np.float32)
    columns, whole = np.ascontiguousarray(queries.T), n // PRODUCT_ROWS * PRODUCT_ROWS  # (d, m)
    blocks = vectors[:whole].reshape(-1, PRODUCT_ROWS, vectors.shape[1])
    np.matmul(blocks, columns, out=scores[:whole].reshape(-1, PRODUCT_ROWS, m))
    np.matmul(vectors[whole:], columns, out=scores[whole:n])
    scores[n:] = -np.inf
    scores[hidden] = -np.inf
    lengths = np.fromiter(map(len, excluded), np.int64, m)
    scores[np.concatenate(excluded), np.repeat(np.arange(m), lengths)] = -np.inf
    return scores.reshape(GROUP, -1, m)


def _near_best(groups: Array, k: int, margin: Array) -> tuple[Array, Array]:
    """Pairs of a query (c,), ascending, and a row (c,): all that could be among the k best after rescoring.

    The k best groups hold at least k rows that score as much as the last of those groups, so no row below that is
    among the k best.
    """
    best = np.ascontiguousarray(np.maximum.reduce(groups, axis=0).T)  # (m, groups)
    cut = np.partition(best, best.shape[1] - k, axis=1)[:, -k] - margin  # (m,)
    query, group = np.nonzero((best >= cut[:, None]) & (best > -np.inf))  # (p,)
    scores = groups[:, group, query]  # (GROUP, p)
    pair, place = np.nonzero(((scores >= cut[query]) & (scores > -np.inf)).T)
    return query[pair], place * groups.shape[1] + group[pair]


def _padded_candidates(query: Array, row: Array, k: int, m: int) -> tuple[Array, Array, Array]:
    """Candidates (m, c) and which of them are none of the padding; then the queries with too many of them."""
    counts = np.bincount(query, minlength=m)
    crowded = counts > k + MORE_CANDIDATES
    kept = ~crowded[query]
    query, row, place = query[kept], row[kept], (np.arange(len(query)) - (np.cumsum(counts) - counts)[query])[kept]
    candidates = np.zeros((m, int(counts[~crowded].max(initial=0))), np.int64)
    allowed = np.zeros(candidates.shape, np.bool_)
    candidates[query, place], allowed[query, place] = row, True
    return candidates, allowed, np.flatnonzero(crowded)
