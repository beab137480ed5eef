"""The items that the service knows, trained and stored ones together, for the routes that show them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from index.attribute_types import AttributeType
from index.ids import IdTable, PackedStrings
from index.recommending.steps import done
from service.bundles.loaded import LoadedBundle
from service.errors import InvalidRequestError
from service.items.item import Item, ItemChange, bundle_record
from service.items.store import ItemsUnavailable
from service.ranking.constraints import Filters, filter_constraints
from service.ranking.facets import as_text, build_facets
from service.ranking.filters.evaluation import CATEGORIES
from service.ranking.filters.parsing import Filter
from service.state import Service

Matches = Callable[[Mapping[str, Any]], bool]  # of an item's record
Types = Mapping[str, AttributeType]


@dataclass(frozen=True)
class Known:
    """One item: its record as a bundle holds it, and where that is from."""

    item_id: str
    record: Mapping[str, Any]  # item_id, title, category, image (as a URL), attributes
    row: int | None  # in the bundle that answers
    entry: ItemChange | None  # in the item store
    trained: bool
    state: str  # listed, waiting, unavailable or hidden
    reason: str | None  # why no list ranks it, of an item that waits


async def known_items(service: Service, loaded: LoadedBundle, item_ids: Sequence[str]) -> list[Known | None]:
    """The items with these ids; None for one that is unknown or was deleted.

    While the store cannot be read, trained items are as the bundle has them; ItemsUnavailable for any other.
    """
    rows = [loaded.items.row(item_id) for item_id in item_ids]
    try:
        entries = await service.items.store.entries(item_ids)
    except ItemsUnavailable:
        if None in rows:
            raise
        entries = [None] * len(item_ids)
    return [known(service, loaded, *one) for one in zip(item_ids, rows, entries, strict=True)]


def known(
    service: Service, loaded: LoadedBundle, item_id: str, row: int | None, entry: ItemChange | None
) -> Known | None:
    """One item, given its row and what is stored of it; None for one that is unknown or was deleted."""
    item = None if entry is None else entry.item
    if item is None and (row is None or entry is not None):
        return None
    trained = row is not None and row < loaded.bundle.manifest.n_items
    if item is not None:
        record = loaded.items.record_of(item_id, bundle_record(item))
    else:
        assert row is not None
        record = loaded.items.full_record(row)
    reason = loaded.living.not_ranked.get(item_id)
    if item_id in service.live.hidden.ids:
        state = "hidden"
    elif item is not None and not item.available:
        state = "unavailable"
    else:
        state = "listed" if row is not None and reason is None else "waiting"
    return Known(item_id, record, row, entry, trained, state, reason)


def matcher(filters: Filters, title: str, words: str) -> Matches:
    """Whether a record passes the filters, but for the filter language, its title begins with `title`, and each of the
    words is in its title or id, whatever the case."""
    prefix, excluded = title.casefold(), set(filters.exclude)
    searched = words.casefold().split()
    wanted: dict[str, set[str]] = {}
    for name, value in filters.required:
        wanted.setdefault(name, set()).add(value)

    def matches(record: Mapping[str, Any]) -> bool:
        return (
            record["item_id"] not in excluded
            and (not filters.categories or bool(_categories(record) & set(filters.categories)))
            and record["title"].casefold().startswith(prefix)
            and _has_words(record, searched)
            and all(_texts(record["attributes"].get(name)) & values for name, values in wanted.items())
        )

    return matches


def _has_words(record: Mapping[str, Any], words: Sequence[str]) -> bool:
    text = f"{record['title']} {record['item_id']}".casefold() if words else ""
    return all(word in text for word in words)


def _categories(record: Mapping[str, Any]) -> set[str | None]:
    return {record["category"], *_texts(record["attributes"].get(CATEGORIES))}


def _texts(value: Any) -> set[str | None]:
    values = value if isinstance(value, list | tuple) else [value]
    return {as_text(one) for one in values if one is not None}


def chosen_among(items: Sequence[Item], chosen: Filter | None, types: Types, now: float) -> Sequence[bool]:
    """Which of the stored items match a filter; InvalidRequestError where it compares different types."""
    if chosen is None or not items:
        return [True] * len(items)
    own = [{**bundle_record(item), "available": item.available, "created_at": item.created_at} for item in items]
    facets = build_facets(PackedStrings.pack([orjson.dumps(record) for record in own]), types)
    selection = done(facets.select(chosen, IdTable.build([item.item_id for item in items]), now))
    rows = set(selection.rows.tolist())
    return [row in rows for row in range(len(items))]


async def trained_rows(
    service: Service, loaded: LoadedBundle, filters: Filters, after: int
) -> tuple[Sequence[int], Sequence[str]]:
    """The rows of trained items after one, ascending, that pass the filters, and warnings about these.

    InvalidRequestError where a filter names an attribute that no item has.
    """
    n_trained = loaded.bundle.manifest.n_items
    try:
        constraints = await filter_constraints(
            filters, loaded.bundle.item_ids, loaded.facet_store, now=service.live.now()
        )
    except InvalidRequestError:
        stored = await service.items.types()
        if not filters.required or not all(name in stored for name, _ in filters.required):
            raise
        return [], []  # an attribute of stored items alone
    mask = constraints.allowed_mask(len(loaded.bundle.item_ids))[:n_trained]
    rows: Sequence[int] = (np.flatnonzero(mask[after:]) + after).tolist()
    return rows, constraints.warnings
