"""Interactions of any shape as rows of users and items: what each user has had, oldest first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import numpy as np

from index.attribute_types import parse_time
from index.errors import InputError
from index.foreign.ids import as_id, some_of
from index.ranking import NO_ROWS
from index.trend import NO_TIME

Array = np.ndarray[Any, Any]
Unknown = Literal["refuse", "drop"]
Columns = Mapping[str, Sequence[Any]]

USER, ITEM, TIME = "user_id", "item_id", "timestamp"
ROWS_AT_ONCE = 65_536
LATEST = 10**11  # larger numbers are of finer units


@dataclass(frozen=True, eq=False)
class Histories:
    """What each user has had: CSR, each user's items oldest first and none twice."""

    offsets: Array  # (n_users + 1,) int64
    items: Array  # (t,) int32
    times: Array  # (t,) int64 unix seconds, or NO_TIME
    dropped: int = 0  # interactions with items that are unknown


def histories(
    interactions: Any, users: dict[str, int], items: Mapping[str, int], *, unknown_items: Unknown = "refuse"
) -> Histories:
    """Gather the interactions; users that are not in `users` are added to it.

    Of a repeated pair the newest counts. Without times the order is that of the interactions. InputError where an item
    is unknown, unless these are dropped, and where what is given has no such shape.
    """
    if hasattr(interactions, "tocoo"):
        user_rows, item_rows = _of_matrix(interactions, len(users), len(items))
        return _sorted(user_rows, item_rows, np.full(len(user_rows), NO_TIME), len(users))
    blocks: list[tuple[Array, Array, Array]] = []
    missing: dict[str, None] = {}
    dropped = 0
    for batch in batches_of(interactions):
        block = _block(batch, users, items, missing)
        known = block[1] >= 0
        dropped += int(np.count_nonzero(~known))
        blocks.append((block[0][known], block[1][known], block[2][known]))
    if missing and unknown_items == "refuse":
        told = some_of([repr(one) for one in missing])
        raise InputError(
            f"interactions name {len(missing):,} items that have no vector: {told}; expected ids among the "
            f"{len(items):,} of item_ids (unknown_items='drop' leaves such interactions out)"
        )
    columns = zip(*(blocks or [(NO_ROWS, NO_ROWS, NO_ROWS)]), strict=True)
    user_rows, item_rows, times = (np.concatenate(column) for column in columns)
    return _sorted(user_rows, item_rows, times, len(users), dropped)


def batches_of(interactions: Any) -> Iterator[Columns]:
    """Some thousand rows at a time, by column: of a table, or of rows (user, item) or (user, item, time)."""
    if interactions is None:
        return
    if isinstance(interactions, Mapping) or hasattr(interactions, "columns"):
        yield _columns(interactions)
        return
    rows: list[Sequence[Any]] = []
    for row in interactions:
        if isinstance(row, Mapping):  # a batch that was read from a file
            yield _columns(row)
            continue
        if isinstance(row, str) or not hasattr(row, "__len__") or len(row) not in (2, 3):
            raise InputError(f"interactions have {row!r:.80}; expected (user, item) or (user, item, timestamp)")
        rows.append(row)
        if len(rows) == ROWS_AT_ONCE:
            yield _transposed(rows)
            rows = []
    if rows:
        yield _transposed(rows)


def _columns(table: Any) -> Columns:
    names = list(table.keys() if isinstance(table, Mapping) else table.columns)
    if USER not in names or ITEM not in names:
        found = ", ".join(map(str, names)) or "none"
        raise InputError(f"interactions have the columns {found:.200}; expected {USER}, {ITEM} and perhaps {TIME}")
    columns = {name: list(table[name]) for name in (USER, ITEM, TIME) if name in names}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise InputError(f"interactions have columns of {sorted(lengths)} rows; expected columns of one length")
    return columns


def _transposed(rows: Sequence[Sequence[Any]]) -> Columns:
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise InputError("interactions have rows of 2 and of 3 values; expected all with a timestamp, or none")
    return dict(zip((USER, ITEM, TIME), zip(*rows, strict=True), strict=False))


def _block(
    batch: Columns, users: dict[str, int], items: Mapping[str, int], missing: dict[str, None]
) -> tuple[Array, Array, Array]:
    item_ids = [as_id("interactions", value) for value in batch[ITEM]]
    item_rows = np.fromiter((items.get(one, -1) for one in item_ids), np.int64, len(item_ids))
    for place in np.flatnonzero(item_rows < 0).tolist():
        missing[item_ids[place]] = None
    user_ids = (as_id("interactions", value) for value in batch[USER])
    user_rows = np.fromiter((users.setdefault(one, len(users)) for one in user_ids), np.int64, len(item_ids))
    times = batch.get(TIME)
    return user_rows, item_rows, np.full(len(item_ids), NO_TIME) if times is None else _seconds(times)


def _seconds(values: Sequence[Any]) -> Array:
    return np.fromiter((_second(value) for value in values), np.int64, len(values))


def _second(value: Any) -> int:
    """The unix seconds of a time; NO_TIME where there is none."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return NO_TIME
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[s]").astype(np.int64))
    try:
        seconds = int(float(value))
        if abs(seconds) <= LATEST:
            return seconds
        found = None
    except (TypeError, ValueError, OverflowError):
        found = parse_time(value) if isinstance(value, str) else None
    if found is None:
        raise InputError(f"interactions have the timestamp {value!r:.80}; expected unix seconds or ISO 8601")
    return int(found)


def _of_matrix(matrix: Any, n_users: int, n_items: int) -> tuple[Array, Array]:
    """The rows and columns of a sparse matrix of users by items, as `implicit` is given one."""
    if tuple(matrix.shape) != (n_users, n_items):
        raise InputError(
            f"interactions are a matrix {tuple(matrix.shape)}; expected ({n_users}, {n_items}), users by items"
        )
    entries = matrix.tocoo()
    some = np.asarray(entries.data) != 0
    return np.asarray(entries.row, np.int64)[some], np.asarray(entries.col, np.int64)[some]


def _sorted(user_rows: Array, item_rows: Array, times: Array, n_users: int, dropped: int = 0) -> Histories:
    order = np.lexsort((times, user_rows))  # stable: of equal times the order is that given
    user_rows, item_rows, times = user_rows[order], item_rows[order], times[order]
    pairs = user_rows * (int(item_rows.max(initial=0)) + 1) + item_rows
    _, newest = np.unique(pairs[::-1], return_index=True)
    kept = np.sort(len(pairs) - 1 - newest)
    counts = np.bincount(user_rows[kept], minlength=n_users)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return Histories(offsets, item_rows[kept].astype(np.int32), times[kept], dropped)
