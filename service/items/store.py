"""The interface of the durable item store; a SQLite file implements it for one replica, Redis for several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from index.attribute_types import AttributeType
from service.errors import InvalidRequestError, ServiceError
from service.items.item import Item, ItemChange
from service.storage.group_commit import CommitNames
from service.storage.unavailable import StoreUnavailable


class ItemsUnavailable(StoreUnavailable):
    """The store cannot be written or read now (disk full, Redis unavailable); nothing was acknowledged."""

    code = "item_store_unavailable"


class ItemsChangedError(ServiceError):
    """An item, or what its types depend on, was changed by somebody else since it was read; nothing was written."""

    status = 409
    code = "items_changed"


class AttributeInUseError(ServiceError):
    """A stored item has a value that a declared type contradicts; nothing was declared."""

    status = 409
    code = "attribute_in_use"


NAMES = CommitNames("items", "item store", "item_writer", ItemsUnavailable)


@dataclass(frozen=True)
class ItemWrite:
    """What is written all or none."""

    changes: Mapping[str, Item | None]  # None: deleted
    types: Mapping[str, AttributeType] = field(default_factory=dict)  # of attributes, where not known before
    expected: Mapping[str, int] = field(default_factory=dict)  # positions at which items were read; 0: never stored
    retyped_at: int | None = None  # the types replace known ones, unless an item changed since this position

    def __len__(self) -> int:
        return max(1, len(self.changes))

    def check_types(self, known: Mapping[str, str]) -> None:
        """InvalidRequestError, naming the attribute, where a type differs from the known one."""
        for name, given in self.types.items():
            if known.get(name, given) != given:
                raise other_type(name, found=given, expected=known[name])


def other_type(name: str, *, found: str, expected: str) -> InvalidRequestError:
    """The error of a value or a declaration that has another type than its attribute."""
    return InvalidRequestError(f"attributes.{name}: found {found}, expected {expected}")


class ItemStore(Protocol):
    """Items by id, and the order of their changes. Every method raises ItemsUnavailable where the store fails."""

    @property
    def problem(self) -> str | None:
        """Why a change was refused last; None while changes are accepted."""
        ...

    async def write(
        self,
        changes: Mapping[str, Item | None],
        types: Mapping[str, AttributeType],
        *,
        expected: Mapping[str, int] | None = None,
        retyped_at: int | None = None,
    ) -> int:
        """Put items and delete those of None, all or none, with attribute types that were not known before.

        The changes take consecutive positions, in their order. They and all earlier ones are durable when this returns
        the position of the last one; without changes, that of the newest in the store.
        InvalidRequestError, naming the attribute, where a type differs from the one in the store, unless the types
        replace those (`retyped_at`). ItemsChangedError where an item is no longer at its expected position.
        """
        ...

    async def get(self, item_ids: Sequence[str]) -> list[Item | None]:
        """The items with these ids; None for one that is not in the store or was deleted."""
        ...

    async def entries(self, item_ids: Sequence[str]) -> list[ItemChange | None]:
        """The newest change of each item; None for one that was never stored."""
        ...

    async def changes(self, after: int, limit: int) -> list[ItemChange]:
        """The newest change of each item that changed after the position, ascending; fewer than `limit` at the end."""
        ...

    async def last_position(self) -> int:
        """The position of the newest change; 0 in a store that never had one."""
        ...

    async def count(self) -> int:
        """How many items are stored, without deleted ones."""
        ...

    async def types(self) -> dict[str, AttributeType]:
        """The type of each attribute that is known, by name."""
        ...

    async def close(self) -> None:
        """Write what waits, then close."""
        ...


def items_of(entries: Sequence[ItemChange | None]) -> list[Item | None]:
    """The items of entries; None for those that were deleted or never stored."""
    return [None if entry is None else entry.item for entry in entries]
