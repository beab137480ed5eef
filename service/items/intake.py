"""Takes changes of items in: checks them, completes them, writes them to the store and tells the listeners."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from index.attribute_types import AttributeType, common_type, fits, type_of
from index.content_path import Features
from service.errors import InvalidRequestError, ServiceError, UnknownItemError
from service.items.following import ItemFollower
from service.items.item import AttributeValue, GivenItem, Item, ItemChange
from service.items.patch import ItemPatch
from service.items.store import AttributeInUseError, ItemsChangedError, ItemStore, other_type
from service.items.trained import TrainedItems
from service.items.untrained import UntrainedItems
from service.telemetry.metrics import ItemMetrics

MOST_TRIES = 50  # of one change, each of which another change of the same item came before
REFUSALS = ("overloaded", "item_store_unavailable", "too_many_items")  # that are counted
SLICE = 100  # items that are completed in one go, in some milliseconds

Types = Mapping[str, AttributeType]
Entries = Mapping[str, ItemChange | None]
Values = Mapping[str, AttributeValue | None]


@dataclass(frozen=True)
class Accepted:
    """The outcome of a change: it is durable."""

    position: int  # of the newest change of its items
    changed: tuple[ItemChange, ...]
    n_unchanged: int  # items that were already as given


@dataclass(frozen=True)
class _Plan:
    """What one try writes."""

    changes: Mapping[str, Item | None]
    types: Types


MakePlan = Callable[[Entries, Types], Awaitable[_Plan]]


class ItemIntake:
    """Puts, patches and deletes items. Listeners of the follower have the changes before these methods return.

    Everything is read, decided and written only if the items are still as read; else it is decided again. So two
    patches of one item at once, on different replicas, are both applied. `feature_problem` says what is wrong with
    ready features, for the bundle that serves.
    """

    def __init__(
        self,
        store: ItemStore,
        follower: ItemFollower,
        trained: TrainedItems,
        untrained: UntrainedItems,
        *,
        metrics: ItemMetrics,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.follower = follower
        self.trained = trained
        self.untrained = untrained
        self.feature_problem: Callable[[Features], str | None] = lambda _: None
        self._metrics = metrics
        self._clock = clock

    async def put(self, given: Mapping[str, GivenItem]) -> Accepted:
        """Create or replace items, all or none; one that is stored exactly so keeps its position.

        InvalidRequestError names a value of another type than its attribute; TooManyItemsError beyond the limit.
        """
        values = [item.attributes for item in given.values()]
        for item_id, item in given.items():
            self._check_features(item_id, item.features)

        async def plan(entries: Entries, types: Types) -> _Plan:
            found = checked_types(values, types)
            self.untrained.check(list(given))
            changes: dict[str, Item | None] = {}
            for i, (item_id, item) in enumerate(given.items()):
                if i and not i % SLICE:
                    await asyncio.sleep(0)  # lets other requests go on
                before = _stored(entries[item_id])
                completed = self._completed(item_id, item, before)
                if not _same(completed, before):
                    changes[item_id] = completed
            return _Plan(changes, found)

        return await self._change("put", list(given), plan)

    async def patch(self, item_id: str, patch: ItemPatch) -> Accepted:
        """Change some fields of an item; of a trained one that was never put, those of its record in the bundle.

        UnknownItemError where there is none, or where it was deleted.
        """
        given = {name: values for name, values in (patch.features or {}).items() if values is not None}
        self._check_features(item_id, given)

        async def plan(entries: Entries, types: Types) -> _Plan:
            found = checked_types([patch.attributes or {}], types)
            entry = entries[item_id]
            before = self.trained.item(item_id, {**types, **found}) if entry is None else entry.item
            if before is None:
                raise UnknownItemError(f"item_id: no item {item_id[:80]!r} to change; PUT creates one")
            completed = self._completed(item_id, patch.applied_to(before), before)
            same = entry is not None and _same(completed, before)
            return _Plan({} if same else {item_id: completed}, found)

        return await self._change("patch", [item_id], plan)

    async def delete(self, item_id: str) -> Accepted:
        """Delete an item, a trained one too; deleted again, it stays as it is. UnknownItemError where there is none."""

        async def plan(entries: Entries, types: Types) -> _Plan:
            entry = entries[item_id]
            if entry is None and self.trained.row(item_id) is None:
                raise UnknownItemError(f"item_id: no item {item_id[:80]!r} to delete")
            return _Plan({} if entry is not None and entry.item is None else {item_id: None}, {})

        return await self._change("delete", [item_id], plan)

    async def declare(self, types: Types) -> None:
        """Declare types of attributes, before the first value or to correct them.

        AttributeInUseError where a stored item has a value of another type.
        """
        for _ in range(MOST_TRIES):
            position = await self.store.last_position()
            await self._check_values(types)
            try:
                await self.store.write({}, types, retyped_at=position)
            except ItemsChangedError:
                continue
            return
        raise ItemsChangedError("items are changed all the time; declare their attributes later")

    async def _check_values(self, types: Types) -> None:
        known = await self.types()
        if all(known.get(name, kind) == kind for name, kind in types.items()):
            return
        position, more = 0, True
        while more:
            page = await self.store.changes(position, SLICE)
            for change in page:
                _check_item(change, types)
            more = len(page) == SLICE
            position = page[-1].position if page else position

    async def types(self) -> dict[str, AttributeType]:
        """The type of each attribute that is known: of stored items, else of the bundle's."""
        return {**self.trained.types, **await self.store.types()}

    def _check_features(self, item_id: str, features: Features) -> None:
        """InvalidRequestError where the bundle that serves cannot use them: training made others."""
        problem = self.feature_problem(features) if features else None
        if problem is not None:
            raise InvalidRequestError(f"body: item {item_id[:80]!r}: {problem}")

    def _completed(self, item_id: str, given: GivenItem, before: Item | None) -> Item:
        now = self._clock()
        created_at = given.created_at if given.created_at is not None else before.created_at if before else now
        return Item.model_construct(**{**dict(given), "item_id": item_id, "created_at": created_at, "updated_at": now})

    async def _change(self, kind: str, item_ids: list[str], plan: MakePlan) -> Accepted:
        try:
            accepted = await self._try_often(item_ids, plan)
        except ServiceError as error:
            if error.code in REFUSALS:
                self._metrics.items_refused.labels(error.code).inc(len(item_ids))
            raise
        self._metrics.item_changes.labels(kind).inc(len(accepted.changed))
        return accepted

    async def _try_often(self, item_ids: list[str], plan: MakePlan) -> Accepted:
        refusal: ServiceError | None = None
        for _ in range(MOST_TRIES):
            entries = dict(zip(item_ids, await self.store.entries(item_ids), strict=True))
            stored_types = await self.store.types()
            planned = await plan(entries, {**self.trained.types, **stored_types})
            positions = {item_id: entry.position if entry else 0 for item_id, entry in entries.items()}
            try:
                last = await self.store.write(
                    planned.changes,
                    {name: kind for name, kind in planned.types.items() if name not in stored_types},
                    expected={item_id: positions[item_id] for item_id in planned.changes},
                )
            except (ItemsChangedError, InvalidRequestError) as error:  # another request was first
                refusal = error
                continue
            return await self._accepted(entries, planned.changes, last)
        assert refusal is not None
        raise refusal

    async def _accepted(self, entries: Entries, changes: Mapping[str, Item | None], last: int) -> Accepted:
        """Tell the listeners; also what was there before, as a write may be durable whose reply was lost."""
        first = last - len(changes) + 1
        changed = tuple(ItemChange(first + i, item_id, item) for i, (item_id, item) in enumerate(changes.items()))
        unchanged = [entry for item_id, entry in entries.items() if entry is not None and item_id not in changes]
        await self.follower.accept([*sorted(unchanged, key=lambda entry: entry.position), *changed])
        position = max((change.position for change in (*unchanged, *changed)), default=last)
        return Accepted(position, changed, len(entries) - len(changed))


def checked_types(values: Sequence[Values], known: Types) -> dict[str, AttributeType]:
    """The types of all attributes of the values; InvalidRequestError where one has another type than its attribute.

    An attribute that was not known gets the type that all of its values have, else that of the first.
    """
    types = _types_by_name(values, known)
    for i, attributes in enumerate(values):
        for name, value in attributes.items():
            if value is not None and not fits(value, types[name]):
                error = other_type(name, found=str(type_of(value)), expected=types[name])
                where = f"item {i}: " if len(values) > 1 else ""
                raise InvalidRequestError(f"body: {where}{error.detail}")
    return types


def _types_by_name(values: Sequence[Values], known: Types) -> dict[str, AttributeType]:
    found: dict[str, list[AttributeType]] = {}
    for attributes in values:
        for name, value in attributes.items():
            kind = None if value is None else type_of(value)
            if kind is not None:
                found.setdefault(name, []).append(kind)
    return {name: known.get(name) or common_type(kinds) or kinds[0] for name, kinds in found.items()}


def _check_item(change: ItemChange, types: Types) -> None:
    for name, kind in types.items():
        value = None if change.item is None else change.item.attributes.get(name)
        if value is not None and not fits(value, kind):
            raise AttributeInUseError(
                f"body: {name}: item {change.item_id[:80]!r} has a {type_of(value)}, expected {kind}; "
                "change its value first"
            )


def _stored(entry: ItemChange | None) -> Item | None:
    return None if entry is None else entry.item


def _same(item: Item, before: Item | None) -> bool:
    """Whether they differ in nothing but the time of the change."""
    return before is not None and {**dict(item), "updated_at": 0} == {**dict(before), "updated_at": 0}
