"""Renders items as JSON: what never changes of an item once, into a bounded cache."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import orjson
from cachetools import LRUCache

from index.bundle import Bundle
from index.ids import IdTable, PackedStrings
from service.items.image_urls import AS_REFERRED, ImageUrls
from service.ranking.facets import FacetStore
from service.ranking.item_fields import ChosenFields, Fields, render_fields, unknown_fields

Array = np.ndarray[Any, Any]

SUMMARY_FIELDS = ("title", "category", "image")
CHOSEN_BYTES = 32_000_000  # of cached items whose fields requests chose
ENTRY_BYTES = 300  # of one of them beside its JSON


class ShownItem(NamedTuple):
    """What responses show of an item, as the beginnings of JSON objects."""

    item_id: str
    name: str  # its title, or its id where it has none
    in_list: bytes  # {"item_id":"B0012","title":"Oak chair","category":"chair","image":null
    in_past: bytes  # {"item_id":"B0012","title":"Oak chair"; the title is its name


class ItemMetadata:
    """Metadata by item row; `shown(row)` is cached, and so are the fields that requests chose."""

    def __init__(
        self,
        bundle: Bundle,
        cache_size: int,
        image_urls: ImageUrls = AS_REFERRED,
        shared_with: "Sequence[ItemMetadata]" = (),
    ) -> None:
        """shared_with: of other bundles, with the same image_urls; for the very same items there is one cache."""
        self._bundle = bundle
        self._image_urls = image_urls
        # Cached over a function and not over a method: a reference cycle would keep a replaced bundle open until the
        # next garbage collection.
        # All items fit: no order of use has to be maintained, which costs half of a lookup.
        limit = None if cache_size >= len(bundle.item_ids) else cache_size
        shown = lru_cache(limit)(partial(_shown, bundle.item_ids, bundle.items, image_urls))
        same = [one for one in shared_with if one._is_of_items_of(bundle)]
        self._unchanged: Callable[[int], ShownItem] = same[0]._unchanged if same else shown
        self._clear_shown: Callable[[], None] = same[0]._clear_shown if same else shown.cache_clear
        self.shown = self._unchanged
        self._chosen: LRUCache[tuple[int, Fields, bytes | None], ChosenFields] = LRUCache(
            CHOSEN_BYTES, getsizeof=lambda one: len(one.in_list) + ENTRY_BYTES
        )
        self._records: Mapping[int, bytes] = {}  # of items that are new or have changed
        self._changed: dict[int, tuple[bytes, ShownItem]] = {}  # with the record that each was rendered from

    def _is_of_items_of(self, bundle: Bundle) -> bool:
        mine = self._bundle
        return mine.items.is_of(bundle.items) and mine.item_ids.strings.is_of(bundle.item_ids.strings)

    def over(self, bundle: Bundle, records: Mapping[int, bytes]) -> "ItemMetadata":
        """The metadata of the bundle's items, of which those with records here are new or have changed.

        Shares what is cached; the bundle has these records.
        """
        after = copy.copy(self)
        after._bundle, after._records = bundle, records
        render = partial(_shown, bundle.item_ids, bundle.items, self._image_urls)
        after.shown = partial(_shown_of_changed, render, records, self._changed, self._unchanged)
        return after

    def clear_cache(self) -> None:
        self._clear_shown()
        self._chosen.clear()

    def row(self, item_id: str) -> int | None:
        """The row of an item, or None."""
        return self._bundle.item_ids.row(item_id)

    def image_url(self, reference: str | None) -> str | None:
        """What answers have for this reference to a picture."""
        return self._image_urls(reference)

    def full_record(self, row: int) -> dict[str, Any]:
        """All metadata of the item in the bundle."""
        return _full_record(self._bundle.item_ids, self._bundle.items, self._image_urls, row)

    def record_of(self, item_id: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """The same of an item whose metadata are given, with or without a row."""
        return {"item_id": item_id, **record, "image": self._image_urls(record["image"])}

    def ranked(
        self,
        rows: Sequence[int],
        scores: Array,
        first: int = 1,
        *,
        more: Sequence[bytes] | None = None,
        fields: Fields | None = None,
    ) -> orjson.Fragment:
        """The JSON array of a response's items, best first, with ranks from `first`.

        `more` are further fields of each item, with a comma in front: `,"users":3`. Without `fields` an item has its
        title, category and image.
        """
        if not len(rows):
            return orjson.Fragment(b"[]")
        ranks, ends = range(first, first + len(rows)), [b""] * len(rows) if more is None else more
        starts = [(self.shown(row) if fields is None else self._with_fields(row, fields)).in_list for row in rows]
        items = [
            b'%b,"rank":%d,"score":%b%b}' % (start, rank, score, end)
            for start, rank, score, end in zip(starts, ranks, json_numbers(scores), ends, strict=True)
        ]
        return orjson.Fragment(b"[%b]" % b",".join(items))

    def _with_fields(self, row: int, fields: Fields) -> ChosenFields:
        key = row, fields, self._records.get(row)
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = render_fields(self.full_record(row), fields)
            if len(chosen.in_list) + ENTRY_BYTES <= CHOSEN_BYTES:
                self._chosen[key] = chosen
        return chosen

    async def warnings(self, fields: Fields | None, rows: Sequence[int], facet_store: FacetStore) -> list[str]:
        """What is wrong with the fields of a list of these rows: names of attributes that no item has."""
        if fields is None or not fields.attributes:
            return []
        shown = frozenset().union(*(self._with_fields(row, fields).has for row in rows))
        unseen = [name for name in fields.attributes if name not in shown]
        if not unseen:
            return []
        known = {*self._bundle.manifest.attribute_types, *(await facet_store.facets()).columns}
        unknown = [name for name in unseen if name not in known]
        return [unknown_fields(unknown, known)] if unknown else []


def json_numbers(values: Array) -> list[bytes]:
    """Each of at least one number (n,) as JSON."""
    return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _full_record(item_ids: IdTable, items: PackedStrings, image_urls: ImageUrls, row: int) -> dict[str, Any]:
    record = {"item_id": item_ids[row], **orjson.loads(items[row])}
    if image_urls is not AS_REFERRED:
        record["image"] = image_urls(record["image"])
    return record


def _shown_of_changed(
    render: Callable[[int], ShownItem],
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
        rendered[row] = found = record, render(row)
    return found[1]


def _shown(item_ids: IdTable, items: PackedStrings, image_urls: ImageUrls, row: int) -> ShownItem:
    record = _full_record(item_ids, items, image_urls, row)
    item_id, title = record["item_id"], record["title"]
    name = title or item_id
    in_list = orjson.dumps({"item_id": item_id, **{field: record[field] for field in SUMMARY_FIELDS}})
    in_past = orjson.dumps({"item_id": item_id, "title": name})
    return ShownItem(item_id, name, in_list[:-1], in_past[:-1])
