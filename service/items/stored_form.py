"""The JSON in which both stores hold an item."""

from typing import Any

from pydantic import ValidationError

from service.items.item import Item, ItemChange
from service.telemetry.task_metrics import TaskMetrics


def encode(item: Item | None) -> str | None:
    """The JSON of an item; None where it was deleted."""
    return None if item is None else item.model_dump_json(exclude_defaults=True)


class ItemDecoder:
    """Decodes stored items; what is none, since another program or a later version wrote it, is counted and skipped."""

    def __init__(self, metrics: TaskMetrics) -> None:
        self._unreadable = metrics.unreadable

    def __call__(self, item_id: Any, position: int, body: Any) -> ItemChange | None:
        try:
            item_id = item_id.decode() if isinstance(item_id, bytes) else item_id
            return ItemChange(position, item_id, None if body is None else _decode(item_id, body))
        except (ValidationError, ValueError) as error:
            self._unreadable.skip("items", error)
            return None

    def entry(self, item_id: str, position: int, body: Any) -> ItemChange:
        """As above; what is none counts as deleted, so that it may be put again."""
        return self(item_id, position, body) or ItemChange(position, item_id, None)


def _decode(item_id: str, body: str | bytes) -> Item:
    item = Item.model_validate_json(body)
    if item.item_id != item_id:
        raise ValueError("expected the item's own id in what is stored under it")
    return item
