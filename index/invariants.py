"""The two identities that every bundle satisfies, and the error by which its arrays miss them.

The error is what rounding of float16 and int8 tables cannot explain: a row is compared with its sum as far as the
norms allow by which each of the rounded rows in it can have moved (triangle inequality); 0 for float32 tables.

Errors are relative: the norm of a row's error divided by the norm of the row, or by the mean norm of all rows where
that is larger, because float32 cannot represent rows near zero to a relative precision.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from index.recency import Recency, past_weights
from index.tables import PackedTable, Table, rounding_of

Array = np.ndarray[Any, Any]

_CHUNK = 65_536


def part_sum_error(item_embeddings: Array, item_parts: Mapping[str, Table]) -> float:
    """The largest relative error of sum of parts = item embedding; at most TOLERANCE in a valid bundle."""
    floor = _mean_norm(item_embeddings)
    return max(
        _row_error(_summed(item_parts, rows), item_embeddings[rows], floor, _allowance(item_parts.values(), rows))
        for rows in _chunks(len(item_embeddings))
    )


def fold_in_error(
    user_embeddings: Table,
    user_own: Table | None,
    fold_in: Table,
    seen_offsets: Array,
    seen_items: Array,
    *,
    recency: Recency | None = None,
) -> float:
    """The largest relative error of u = own + (sum of w)^(-1/2) · sum of w · fold_in over the seen items.

    Without `user_own` no user has an own term; w are the weights of `recency`.
    """
    floor = _mean_norm(user_embeddings)
    roundings = fold_in.rounding(slice(None))[:, None] if isinstance(fold_in, PackedTable) else None  # (n_items, 1)
    errors = []
    for rows in _chunks(len(user_embeddings), size=4_096):
        offsets = seen_offsets[rows.start : rows.stop + 1]
        found = fold_in_sums(fold_in, offsets, seen_items, recency)
        if user_own is not None:
            found += user_own[rows]
        allowance = _allowance((user_embeddings, user_own), rows)
        if roundings is not None:  # that of each item is weighted as the item is
            allowance = allowance + fold_in_sums(roundings, offsets, seen_items, recency)[:, 0]
        errors.append(_row_error(found, user_embeddings[rows], floor, allowance))
    return max(errors)


def fold_in_sums(fold_in: Table, offsets: Array, seen_items: Array, recency: Recency | None = None) -> Array:
    """(sum of w)^(-1/2) · sum of w · fold_in over seen(u), oldest first, with the weights w of `recency`.

    For each of the m users of `offsets` (m + 1,); (m, d) float64.
    """
    degrees = np.diff(offsets)
    sums = np.zeros((len(degrees), fold_in.shape[1]))  # (m, d)
    some = degrees > 0
    if some.any():
        starts = (offsets[:-1] - offsets[0])[some]
        weights = past_weights(offsets, recency).astype(np.float64)  # (t,)
        added = fold_in[seen_items[offsets[0] : offsets[-1]]].astype(np.float64)  # (t, d)
        if recency is not None:
            added *= weights[:, None]
        # reduceat has no empty segments: users without items are left out, which shifts no other user's start.
        sums[some] = np.add.reduceat(added, starts, axis=0)
        sums[some] /= np.sqrt(np.add.reduceat(weights, starts))[:, None]
    return sums


def _summed(parts: Mapping[str, Table], rows: slice) -> Array:
    total = np.zeros(next(iter(parts.values()))[rows].shape)
    for part in parts.values():
        total += part[rows]
    return total


def _allowance(tables: Iterable[Table | None], rows: slice) -> Array | float:
    return sum((rounding_of(table, rows) for table in tables), 0.0)


def _row_error(found: Array, expected: Array, floor: float, allowance: Array | float) -> float:
    error = np.maximum(np.linalg.norm(found - expected, axis=1) - allowance, 0)
    scale = np.maximum(np.linalg.norm(expected, axis=1), floor)
    return float(np.max(error / np.maximum(scale, np.finfo(np.float32).tiny)))


def _mean_norm(rows: Table) -> float:
    return sum(float(np.linalg.norm(rows[chunk], axis=1).sum()) for chunk in _chunks(len(rows))) / len(rows)


def _chunks(n: int, size: int = _CHUNK) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
