"""Decodes and caches the metadata of items that responses show."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import orjson

from index.bundle import Bundle

SUMMARY_FIELDS = ("title", "category", "image")


class ItemMetadata:
    """Metadata by item row; `summary(row)` is the cached `{item_id, title, category, image}`: copy before changing."""

    def __init__(self, bundle: Bundle, cache_size: int) -> None:
        self._bundle = bundle
        # Cached over a function and not over a method: a reference cycle would keep a replaced bundle open until the
        # next garbage collection.
        summary = lru_cache(cache_size)(partial(_summary, bundle))
        self.summary: Callable[[int], dict[str, Any]] = summary
        self.clear_cache = summary.cache_clear

    def row(self, item_id: str) -> int | None:
        """The row of an item, or None."""
        return self._bundle.item_ids.row(item_id)

    def name(self, row: int) -> tuple[str, str]:
        """The item's id, and its title, or its id where it has no title."""
        summary = self.summary(row)
        return summary["item_id"], summary["title"] or summary["item_id"]

    def full_record(self, row: int) -> dict[str, Any]:
        """All metadata of the item in the bundle."""
        return _full_record(self._bundle, row)

    def ranked(self, rows: list[int], scores: list[Any], first: int = 1) -> list[dict[str, Any]]:
        """The items of a response, best first, with ranks from `first`."""
        pairs = enumerate(zip(rows, scores, strict=True), start=first)
        return [{**self.summary(row), "rank": rank, "score": score} for rank, (row, score) in pairs]


def _full_record(bundle: Bundle, row: int) -> dict[str, Any]:
    return {"item_id": bundle.item_ids[row], **orjson.loads(bundle.item_json(row))}


def _summary(bundle: Bundle, row: int) -> dict[str, Any]:
    record = _full_record(bundle, row)
    return {"item_id": record["item_id"], **{name: record[name] for name in SUMMARY_FIELDS}}
