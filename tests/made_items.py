"""Items for tests."""

from typing import Any

from service.items.item import Item

NOON = 1_800_000_000.0


def made(item_id: str, **changes: Any) -> Item:
    """An oak chair that was put at noon, changed as asked."""
    fields = {"title": f"Chair {item_id}", "categories": ["chair"], "attributes": {"price": 20, "colour": "red"}}
    return Item.model_validate(fields | {"item_id": item_id, "created_at": NOON, "updated_at": NOON} | changes)
