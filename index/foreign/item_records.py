"""Item metadata of any shape as the records that a bundle holds: title, category, attributes, image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from index.errors import InputError
from index.foreign.ids import as_id, some_of

ITEM = "item_id"
OWN_FIELDS = ("title", "category", "image")
ATTRIBUTES = "attributes"


def item_records(given: Any, items: Mapping[str, int]) -> list[dict[str, Any]]:
    """The record of each item in row order; an item that is not given has an empty title.

    given: a table with columns, rows that are mappings, or a mapping of such rows by id. What is neither id, title,
    category nor image is an attribute; one called `attributes` holds several. Rows of unknown items are left out.
    InputError where none is of a known item, or one is there twice.
    """
    records: list[dict[str, Any]] = [_record({}) for _ in items]
    found: dict[int, None] = {}
    n_unknown = 0
    for row in _rows(given):
        if ITEM not in row:
            raise InputError(f"items have the fields {', '.join(map(str, row)):.200}; expected {ITEM} among them")
        item_id = as_id("items", row[ITEM])
        place = items.get(item_id)
        if place is None:
            n_unknown += 1
            continue
        if place in found:
            raise InputError(f"items have {item_id!r} twice; expected one row for an item")
        found[place] = None
        records[place] = _record(row)
    if n_unknown and not found:
        raise InputError(
            f"items have {n_unknown:,} rows, none of an item with a vector; expected ids such as {some_of(list(items))}"
        )
    return records


def _rows(given: Any) -> Iterator[Mapping[str, Any]]:
    if given is None:
        return
    if isinstance(given, Mapping) and all(isinstance(row, Mapping) for row in given.values()):
        yield from ({ITEM: item_id, **row} for item_id, row in given.items())
    elif isinstance(given, Mapping) or hasattr(given, "columns"):
        names = list(given.keys() if isinstance(given, Mapping) else given.columns)
        columns: Iterable[Sequence[Any]] = (list(given[name]) for name in names)
        yield from (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    else:
        for row in given:
            if not isinstance(row, Mapping):
                raise InputError(f"items have {row!r:.80}; expected a mapping with {ITEM}, title, ...")
            yield row


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: _plain(row.get(name)) for name in OWN_FIELDS}
    named = {name: _plain(value) for name, value in row.items() if name not in (ITEM, ATTRIBUTES, *OWN_FIELDS)}
    several = row.get(ATTRIBUTES)
    attributes = {**(several if isinstance(several, Mapping) else {}), **named}
    return {
        "title": _text(fields["title"]),
        "category": _text(fields["category"]),
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "image": _text(fields["image"]) or None,
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """The value as JSON has it; None for a missing one."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
