"""Ids as text, and the row of each."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from index.errors import InputError

NAMED = 3  # ids in a message


def as_id(what: str, value: Any) -> str:
    """An id as text; InputError for what is neither text nor a whole number."""
    if isinstance(value, str):
        found = str(value)
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        found = str(int(value))
    else:
        raise InputError(f"{what} has {value!r:.80} of type {type(value).__name__}; expected text or whole numbers")
    if not found:
        raise InputError(f"{what} has an empty id; expected text")
    return found


def row_by_id(what: str, ids: Iterable[Any]) -> dict[str, int]:
    """The row of each id, in order; InputError where one is there twice."""
    rows: dict[str, int] = {}
    twice: list[str] = []
    for row, value in enumerate(ids):
        found = as_id(what, value)
        if rows.setdefault(found, row) != row:
            twice.append(f"{found!r} in rows {rows[found]} and {row}")
    if twice:
        raise InputError(f"{what} has {some_of(twice)}; expected each id once")
    return rows


def some_of(found: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more
