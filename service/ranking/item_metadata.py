"""What a person sees of an item, decoded once and kept while it is asked for."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import orjson

from index.bundle import Bundle

SHOWN = ("title", "category", "image")


class ItemMetadata:
    """Metadata by item row; `shown(row)` is `{item_id, title, category, image}`, shared: copy before changing."""

    def __init__(self, bundle: Bundle, cache_size: int) -> None:
        self._bundle = bundle
        # Bounded, so that memory follows the setting and not the catalogue. Over a function and not a method of ours:
        # a circle of references would keep a bundle open until some garbage collection.
        self.shown: Callable[[int], dict[str, Any]] = lru_cache(cache_size)(partial(_shown, bundle))

    def row(self, item_id: str) -> int | None:
        """The row of an item, or None."""
        return self._bundle.item_ids.row(item_id)

    def name(self, row: int) -> tuple[str, str]:
        """The item's id, and what to call it in a sentence."""
        shown = self.shown(row)
        return shown["item_id"], shown["title"] or shown["item_id"]

    def everything(self, row: int) -> dict[str, Any]:
        """All that the bundle knows of the item."""
        return _everything(self._bundle, row)

    def ranked(self, rows: list[int], scores: list[Any], first: int = 1) -> list[dict[str, Any]]:
        """The items of an answer, best first; the first of them has rank `first`."""
        pairs = enumerate(zip(rows, scores, strict=True), start=first)
        return [{**self.shown(row), "rank": rank, "score": score} for rank, (row, score) in pairs]


def _everything(bundle: Bundle, row: int) -> dict[str, Any]:
    return {"item_id": bundle.item_ids[row], **orjson.loads(bundle.item_json(row))}


def _shown(bundle: Bundle, row: int) -> dict[str, Any]:
    record = _everything(bundle, row)
    return {"item_id": record["item_id"], **{name: record[name] for name in SHOWN}}
