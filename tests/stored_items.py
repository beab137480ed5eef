"""Stored items for tests: drawn at random, and a store of them in memory."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from bundles import make_features

from index.attribute_types import AttributeType
from service.items.item import Item, ItemChange

_positions = itertools.count(1)


def stored(item_id: str, **fields: Any) -> Item:
    """A stored item; features as `make_features` gives them by default."""
    seed = fields.pop("seed", sum(item_id.encode()))
    defaults: dict[str, Any] = {"title": item_id.title(), "features": make_features(1, seed=seed)[0]}
    return Item(item_id=item_id, created_at=1.0, updated_at=1.0, **(defaults | fields))


def put(*items: Item) -> list[ItemChange]:
    return [ItemChange(next(_positions), item.item_id, item) for item in items]


def deleted(*item_ids: str) -> list[ItemChange]:
    return [ItemChange(next(_positions), item_id, None) for item_id in item_ids]


class MemoryStore:
    """An ItemStore that forgets all with the process."""

    problem = None

    def __init__(self) -> None:
        self._changes: dict[str, ItemChange] = {}

    def add(self, changes: Sequence[ItemChange]) -> list[ItemChange]:
        for change in changes:
            self._changes.pop(change.item_id, None)
            self._changes[change.item_id] = change
        return list(changes)

    async def write(self, changes: Mapping[str, Item | None], types: Mapping[str, AttributeType]) -> int:
        found = [ItemChange(next(_positions), item_id, item) for item_id, item in changes.items()]
        return self.add(found)[-1].position

    async def get(self, item_ids: Sequence[str]) -> list[Item | None]:
        return [self._changes[one].item if one in self._changes else None for one in item_ids]

    async def changes(self, after: int, limit: int) -> list[ItemChange]:
        return [one for one in self._changes.values() if one.position > after][:limit]

    async def last_position(self) -> int:
        return max((one.position for one in self._changes.values()), default=0)

    async def types(self) -> dict[str, AttributeType]:
        return {}
