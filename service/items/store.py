"""The interface of the durable item store; a SQLite file implements it for one replica, Redis for several."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from index.attribute_types import AttributeType
from service.errors import ServiceError
from service.items.item import Item, ItemChange


class ItemsUnavailable(ServiceError):  # noqa: N818 - named by the condition
    """The store cannot be written or read now (disk full, Redis unavailable); nothing was acknowledged."""

    status = 503
    code = "item_store_unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class ItemStore(Protocol):
    """Items by id, and the order of their changes. Every method raises ItemsUnavailable where the store fails."""

    @property
    def problem(self) -> str | None:
        """Why a change was refused last; None while changes are accepted."""
        ...

    async def write(self, changes: Mapping[str, Item | None], types: Mapping[str, AttributeType]) -> int:
        """Put items and delete those of None, all or none, with attribute types that were not known before.

        They are durable when this returns the position of the last one. InvalidRequestError, naming the attribute,
        where a type differs from the one in the store.
        """
        ...

    async def get(self, item_ids: Sequence[str]) -> list[Item | None]:
        """The items with these ids; None for one that is not in the store or was deleted."""
        ...

    async def changes(self, after: int, limit: int) -> list[ItemChange]:
        """The newest change of each item that changed after the position, ascending; fewer than `limit` at the end."""
        ...

    async def last_position(self) -> int:
        """The position of the newest change; 0 in a store that never had one."""
        ...

    async def types(self) -> dict[str, AttributeType]:
        """The type of each attribute that is known, by name."""
        ...
