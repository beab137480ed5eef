"""Renders items as JSON: what never changes of an item once, into a bounded cache."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import orjson

from index.bundle import Bundle

Array = np.ndarray[Any, Any]

SUMMARY_FIELDS = ("title", "category", "image")


class ShownItem(NamedTuple):
    """What responses show of an item, as the beginnings of JSON objects."""

    item_id: str
    name: str  # its title, or its id where it has none
    in_list: bytes  # {"item_id":"B0012","title":"Oak chair","category":"chair","image":null
    in_past: bytes  # {"item_id":"B0012","title":"Oak chair"; the title is its name


class ItemMetadata:
    """Metadata by item row; `shown(row)` is cached."""

    def __init__(self, bundle: Bundle, cache_size: int) -> None:
        self._bundle = bundle
        # Cached over a function and not over a method: a reference cycle would keep a replaced bundle open until the
        # next garbage collection.
        # All items fit: no order of use has to be maintained, which costs half of a lookup.
        limit = None if cache_size >= len(bundle.item_ids) else cache_size
        shown = lru_cache(limit)(partial(_shown, bundle))
        self.shown: Callable[[int], ShownItem] = shown
        self.clear_cache = shown.cache_clear
        self._unchanged = shown
        self._changed: dict[int, tuple[bytes, ShownItem]] = {}  # with the record that each was rendered from

    def over(self, bundle: Bundle, records: Mapping[int, bytes]) -> "ItemMetadata":
        """The metadata of the bundle's items, of which those with records here are new or have changed.

        Shares what is cached of all others; `bundle` has these records.
        """
        changed = copy.copy(self)
        changed._bundle = bundle
        changed.shown = partial(_shown_of_changed, bundle, records, self._changed, self._unchanged)
        return changed

    def row(self, item_id: str) -> int | None:
        """The row of an item, or None."""
        return self._bundle.item_ids.row(item_id)

    def full_record(self, row: int) -> dict[str, Any]:
        """All metadata of the item in the bundle."""
        return _full_record(self._bundle, row)

    def ranked(
        self, rows: Sequence[int], scores: Array, first: int = 1, *, more: Sequence[bytes] | None = None
    ) -> orjson.Fragment:
        """The JSON array of a response's items, best first, with ranks from `first`.

        `more` are further fields of each item, with a comma in front: `,"users":3`.
        """
        if not len(rows):
            return orjson.Fragment(b"[]")
        ranks, ends = range(first, first + len(rows)), [b""] * len(rows) if more is None else more
        items = [
            b'%b,"rank":%d,"score":%b%b}' % (self.shown(row).in_list, rank, score, end)
            for row, rank, score, end in zip(rows, ranks, json_numbers(scores), ends, strict=True)
        ]
        return orjson.Fragment(b"[%b]" % b",".join(items))


def json_numbers(values: Array) -> list[bytes]:
    """Each of at least one number (n,) as JSON."""
    return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _full_record(bundle: Bundle, row: int) -> dict[str, Any]:
    return {"item_id": bundle.item_ids[row], **orjson.loads(bundle.item_json(row))}


def _shown_of_changed(
    bundle: Bundle,
    records: Mapping[int, bytes],
    rendered: dict[int, tuple[bytes, ShownItem]],
    unchanged: Callable[[int], ShownItem],
    row: int,
) -> ShownItem:
    record = records.get(row)
    if record is None:
        return unchanged(row)
    found = rendered.get(row)
    if found is None or found[0] is not record:
        rendered[row] = found = record, _shown(bundle, row)
    return found[1]


def _shown(bundle: Bundle, row: int) -> ShownItem:
    record = _full_record(bundle, row)
    item_id, title = record["item_id"], record["title"]
    name = title or item_id
    in_list = orjson.dumps({"item_id": item_id, **{field: record[field] for field in SUMMARY_FIELDS}})
    in_past = orjson.dumps({"item_id": item_id, "title": name})
    return ShownItem(item_id, name, in_list[:-1], in_past[:-1])
