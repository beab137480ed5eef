"""Scoring, tie-breaking and exclusions, shared by all search paths so that results are reproducible to the bit."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from index.errors import InputError

Array = np.ndarray[Any, Any]
Exclude: TypeAlias = Array | Sequence[Array] | None

MAX_PADDED_K = 16_384
NO_ROWS = np.empty(0, np.int64)
SCORES_AT_ONCE = 8_000_000
_UNIT_ROUNDOFF = 2.0**-24


def unit_rows(vectors: Array) -> Array:
    """Each row (n, width) divided by its length, as float32; a zero row stays zero. Inner products are then cosines."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit


def exact_search(vectors: Array, queries: Array, k: int, exclude: Exclude = None) -> tuple[Array, Array]:
    """Brute-force search over vectors (n, d) with the interface of ItemIndex.search; recall is measured against it."""
    queries = checked_queries(queries, vectors.shape[1])  # (m, d)
    excluded = checked_exclude(exclude, len(queries), len(vectors))
    rows, scores = empty_result(len(queries), checked_k(k, len(vectors)))
    error = rounding_error(queries, largest_norm(vectors))  # (m,)
    at_once = max(1, SCORES_AT_ONCE // len(vectors))
    for start in range(0, len(queries), at_once):
        block = queries[start : start + at_once] @ vectors.T  # (at_once, n)
        for query, row_scores in enumerate(block, start):
            row_scores[excluded[query]] = -np.inf
            candidates = near_best(row_scores, k, 2 * error[query])[None]  # (1, c)
            allowed = np.ones(candidates.shape, np.bool_)
            found = best_of(candidates, allowed, vectors, queries[query, None], k)
            rows[query], scores[query] = found[0][0], found[1][0]
    return rows, scores


def near_best(scores: Array, k: int, margin: float) -> Array:
    """Every position of scores (n,) that could be among the k best after rescoring, all ties at the cut included."""
    cut = np.partition(scores, len(scores) - k)[len(scores) - k] if k < len(scores) else -np.inf
    return np.flatnonzero((scores >= cut - margin) & (scores > -np.inf))


def best_of(
    candidates: Array, allowed: Array, vectors: Array, queries: Array, k: int, *, names: Array | None = None
) -> tuple[Array, Array]:
    """For each query (m, d) the k best of its candidates (m, c) that are allowed (m, c), ties by lower row.

    Rows (m, k) and scores (m, k), padded with -1 and -inf. The row of a candidate is its position in `vectors`, or
    names[position]. Each pair is scored by one loop over d: BLAS rounds differently with the number of rows in the
    call, so that one query would not agree with many.
    """
    scores = np.einsum("mcd,md->mc", vectors.take(candidates, axis=0, mode="wrap"), queries)
    np.copyto(scores, -np.inf, where=~allowed)
    named = candidates if names is None else names[candidates]
    order = np.lexsort((named, -scores))[:, :k]
    order += scores.shape[1] * np.arange(len(scores))[:, None]  # positions in the flattened (m, c)
    best, rows = scores.take(order), named.take(order)
    np.copyto(rows, -1, where=np.isneginf(best))
    return (rows, best) if order.shape[1] == k else padded(rows, best, k)


def padded(rows: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """Results (m, n) padded to (m, k)."""
    rows_out, scores_out = empty_result(len(rows), k)
    rows_out[:, : rows.shape[1]], scores_out[:, : rows.shape[1]] = rows, scores
    return rows_out, scores_out


def empty_result(m: int, k: int) -> tuple[Array, Array]:
    """Rows (m, k) of -1 and scores (m, k) of -inf, the padding where fewer than k items remain."""
    return np.full((m, k), -1, np.int64), np.full((m, k), -np.inf, np.float32)


def rounding_error(queries: Array, norm: float) -> Array:
    """A bound (m,) on how far two float32 inner products of the same pair may differ by order of summation.

    gamma_d · |q| · |v| twice (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    """
    bound: Array = 2 * queries.shape[1] * _UNIT_ROUNDOFF * norm * np.sqrt(np.einsum("md,md->m", queries, queries))
    return bound


def largest_norm(vectors: Array) -> float:
    """The largest row norm."""
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max()))


def checked_queries(queries: Array, size: int) -> Array:
    """Queries as contiguous float32 (m, d); InputError on another width or a value that is not finite."""
    found = np.shape(queries)
    if len(found) not in (1, 2) or found[-1] != size:
        raise InputError(f"queries have shape {found}; expected ({size},) or (m, {size})")
    rows = np.ascontiguousarray(np.atleast_2d(queries), dtype=np.float32)
    if not np.isfinite(rows).all():
        raise InputError("queries hold a value that is not finite; expected finite numbers")
    return rows


def checked_k(k: int, n: int) -> int:
    """InputError unless 1 <= k <= max(n, MAX_PADDED_K); a k beyond n only adds padding."""
    limit = max(n, MAX_PADDED_K)
    if not 1 <= k <= limit:
        raise InputError(f"k is {k}; expected 1..{limit}")
    return k


def checked_exclude(exclude: Exclude, m: int, n: int) -> list[Array]:
    """One array of rows for each of the m queries; a single array applies to all of them."""
    if exclude is None:
        return [NO_ROWS] * m
    if isinstance(exclude, np.ndarray):
        return [checked_rows(exclude, n)] * m
    if len(exclude) != m:
        raise InputError(f"exclude has {len(exclude)} arrays of rows; expected one for each of {m} queries")
    arrays = [np.asarray(rows) for rows in exclude]
    if any(rows.ndim != 1 for rows in arrays) or not _all_rows(arrays, n):  # together: one by one costs 5 us each
        return [checked_rows(rows, n) for rows in arrays]
    return arrays


def _all_rows(arrays: Sequence[Array], n: int) -> bool:
    """Whether all of these one-dimensional arrays hold rows in 0..n-1."""
    together = np.concatenate([NO_ROWS, *arrays])
    return together.dtype.kind in "iu" and (not len(together) or (together.min() >= 0 and together.max() < n))


def checked_rows(rows: Array, n: int) -> Array:
    """InputError unless rows is a one-dimensional array of integers in 0..n-1."""
    if rows.size == 0:
        return NO_ROWS
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(f"excluded rows are {rows.dtype} of shape {rows.shape}; expected integers in one dimension")
    if rows.min() < 0 or rows.max() >= n:
        raise InputError(f"excluded rows run from {rows.min()} to {rows.max()}; expected 0..{n - 1}")
    return rows
