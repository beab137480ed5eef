"""Writes of items in group commits, for both stores."""

from collections.abc import Awaitable, Callable, Mapping

from index.attribute_types import AttributeType
from service.errors import ServiceError
from service.items.item import Item
from service.items.store import NAMES, ItemWrite
from service.storage.group_commit import GroupCommit
from service.telemetry.metrics import ItemMetrics

Write = Callable[[list[ItemWrite]], Awaitable[list[int | ServiceError]]]


class ItemWrites(GroupCommit[ItemWrite, int]):
    """`write` makes items durable and returns each one's last position or its error, or raises ItemsUnavailable."""

    def __init__(self, write: Write, metrics: ItemMetrics, *, most_waiting: int) -> None:
        super().__init__(
            write,
            _nothing,
            NAMES,
            metrics,
            seconds=metrics.item_write_seconds,
            waiting=metrics.items_waiting,
            most_waiting=most_waiting,
        )

    async def write(
        self,
        changes: Mapping[str, Item | None],
        types: Mapping[str, AttributeType],
        *,
        expected: Mapping[str, int] | None = None,
        retyped_at: int | None = None,
    ) -> int:
        """As ItemStore.write; Overloaded where too many wait."""
        return await self.commit(ItemWrite(changes, types, expected or {}, retyped_at))


async def _nothing() -> None:
    """Between two writes there is nothing to tidy."""
