"""What items can be chosen by: typed columns of their attributes, for filters, rules and category caps.

Columns are built from the items' records in a thread: by a request that warms up the start, or after it where there are
so many items that they take seconds. Changed items give a new store, which shares the columns that stay the same.
"""

import asyncio
import copy
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import orjson

from index.attribute_types import AttributeType
from index.bundle import Bundle
from index.ids import IdTable, PackedStrings
from service.errors import InvalidRequestError
from service.ranking.built_once import BuiltOnce, failed
from service.ranking.filters.building import ColumnBuilder, ColumnBuilders
from service.ranking.filters.columns import MISSING, Column
from service.ranking.filters.evaluation import CATEGORIES, CATEGORY, ITEM_ID, TITLE, Catalogue, Evaluation, Selection
from service.ranking.filters.expression import tests_of
from service.ranking.filters.own_fields import OwnFields, Records
from service.ranking.filters.parsing import Filter
from service.ranking.filters.selection_cache import Key, SelectionCache
from service.ranking.filters.text_columns import TextColumn, as_text
from service.ranking.filters.titles import TitleColumn

__all__ = ["CATEGORY", "FacetStore", "Facets", "as_text", "build_facets", "intersect", "union"]

Array = np.ndarray[Any, Any]

CHUNK = 1_024  # records parsed in one call, during which other threads wait
MINUTE_S = 60  # in which `now` in a filter is one time
_NO_TYPES: Mapping[str, AttributeType] = {}


@dataclass(frozen=True, eq=False)
class Facets:
    """The columns of all items; immutable."""

    n_rows: int
    columns: Mapping[str, Column]  # by attribute; the category is one of them, and hides an attribute of that name
    unheld: frozenset[str]  # attributes beyond the limits
    without_value: frozenset[str]  # attributes that are null wherever they were seen, or nested
    titles: TitleColumn
    own: OwnFields
    types: Mapping[str, AttributeType]  # as declared
    cache: SelectionCache = field(default_factory=SelectionCache)

    @cached_property
    def categories(self) -> Array:
        """The code of each item's first category (n_rows,), -1 for none."""
        codes = np.full(self.n_rows, MISSING, np.int32)
        first = self.columns[CATEGORY]
        if isinstance(first, TextColumn):
            codes[: len(first)] = np.maximum(first.codes, MISSING)
        return codes

    @property
    def category_names(self) -> Sequence[str]:
        """The category of each code."""
        first = self.columns[CATEGORY]
        return first.dictionary.texts if isinstance(first, TextColumn) else ()

    def rows_with(self, name: str, values: Iterable[str]) -> Array:
        """The rows that have any of the values, ascending. InvalidRequestError where no item has such an attribute."""
        texts = [text for text in dict.fromkeys(values) if text]  # a request may repeat one 500 times
        return np.flatnonzero(self._mask_with(name, texts))

    def _mask_with(self, name: str, texts: Sequence[str]) -> Array:
        column = self.columns.get(name)
        if column is None and name in self.without_value:
            return np.zeros(self.n_rows, np.bool_)
        if column is None or getattr(column, "too_many", False):
            raise InvalidRequestError(f"no item can be chosen by {name[:80]!r}; known are {self._names()}")
        others = self.columns.get(CATEGORIES)
        if name != CATEGORY or others is None or others.type != "list":
            return column.with_text(texts)
        mask = np.zeros(self.n_rows, np.bool_)
        for one in (column, others):
            mask[: len(one)] |= one.with_text(texts)
        return mask

    def rows_of_categories(self, codes: Sequence[int]) -> Array:
        """The rows whose first category is one of these, by their codes in `categories`, ascending."""
        wanted = np.zeros(int(self.categories.max(initial=0)) + 2, np.bool_)
        wanted[list(codes)] = True
        wanted[MISSING] = False
        return np.flatnonzero(wanted[self.categories])

    def _names(self) -> str:
        return ", ".join(sorted(name for name, column in self.columns.items() if not getattr(column, "too_many", 0)))

    def select(self, chosen: Filter, item_ids: IdTable, now: float) -> Generator[None, None, Selection]:
        """The rows that a filter matches, cached; may be paused at each yield. InvalidRequestError on wrong types.

        `now` counts by the minute.
        """
        minute = int(now // MINUTE_S) if chosen.depends_on_now else 0
        key = Key(chosen.text, minute, self.n_rows)
        used = tuple(part for test in tests_of(chosen.expression) for part in self._used_by(test.name))
        found = self.cache.get(key, used)
        if found is None:
            found = yield from Evaluation(self._catalogue(item_ids), minute * MINUTE_S).select(chosen.expression)
            self.cache.put(key, used, found)
        return found

    def _used_by(self, name: str) -> tuple[object, ...]:
        """What a comparison of this name reads. Ids of rows never change."""
        if name == TITLE:
            return (self.titles,)
        if name == CATEGORY:
            return self.columns[CATEGORY], self.columns.get(CATEGORIES)
        return (None if name == ITEM_ID else self._by_name.get(name),)

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return self.own.added_to(self.columns)

    def _catalogue(self, item_ids: IdTable) -> Catalogue:
        return Catalogue(self.n_rows, self._by_name, self.unheld, self.titles, item_ids)

    def with_items(self, n_rows: int, records: Records) -> "Facets":
        """The facets of n_rows items of which some have new records; shares the columns that stay the same."""
        attributes = {row: {} if record is None else _attributes(record) for row, record in records.items()}
        columns = {
            name: column.replaced(n_rows, {row: of_one.get(name) for row, of_one in attributes.items()})
            for name, column in self.columns.items()
        }
        new = ColumnBuilders(self.types, self.columns)
        for row in sorted(attributes):
            for name, value in attributes[row].items():
                new.add(row, name, value)
        return replace(
            self,
            n_rows=n_rows,
            columns={**columns, **new.build(n_rows)},
            unheld=self.unheld | new.unheld,
            without_value=self.without_value | new.without_value,
            titles=self.titles.replaced({row: _title(record) for row, record in records.items()}),
            own=self.own.replaced(n_rows, records),
        )


class _Pending(NamedTuple):
    """Changes of items whose facets were not built at that time."""

    base: "FacetStore"
    n_rows: int
    records: Records


class FacetStore:
    """The facets of one bundle, built once, when they are first needed."""

    def __init__(self, bundle: Bundle, shared_with: "Sequence[FacetStore]" = ()) -> None:
        """shared_with: stores of other bundles; of one with the very same records the columns are shared."""
        self._items, self._types = bundle.items, bundle.manifest.attribute_types
        items, types = self._items, self._types
        same = [one._trained for one in shared_with if one._types == types and one._items.is_of(items)]
        self._trained: BuiltOnce[Facets] = same[0] if same else BuiltOnce(lambda: build_facets(items, types))
        self._facets: Facets | None = None
        self._pending: _Pending | None = None  # until they are built
        self._building: asyncio.Future[Facets] | None = None

    async def facets(self) -> Facets:
        """The facets; concurrent callers wait for the same build."""
        if self._facets is None:
            await asyncio.shield(self.begin())  # a cancelled caller does not cancel it for the others
        assert self._facets is not None  # _build has set it
        return self._facets

    def begin(self) -> "asyncio.Future[Facets]":
        """Begin to build the facets, unless that is done or has begun."""
        if self._building is None or failed(self._building):
            self._building = asyncio.ensure_future(self._build())
            self._building.add_done_callback(failed)  # reads its exception, which else is logged where no one waits
        return self._building

    async def _build(self) -> Facets:
        if self._facets is not None:
            return self._facets
        if self._pending is None:
            # Selections depend on the rows of new items, too, which differ between bundles.
            self._facets = replace(await self._trained.get(), cache=SelectionCache())
        else:
            base, n_rows, records = self._pending
            self._facets = await asyncio.to_thread((await base.facets()).with_items, n_rows, records)
            self._pending = None
        return self._facets

    def with_items(self, n_rows: int, records: Records) -> "FacetStore":
        """The store of n_rows items of which some are new or changed; this store stays as it is.

        records: by row, as a bundle holds them (`service.items.item.bundle_record`), and in each of them, where known,
        `available` and `created_at` (unix seconds) beside `attributes`; None for an item that was deleted. A row that
        is left out keeps its record. May be called in any thread. Costs what the changes cost, and a copy of the
        columns in which a value changes; where the facets are not built yet, they are built with the changes when they
        are first needed.
        """
        store = copy.copy(self)
        store._facets = store._pending = store._building = None
        pending, facets = self._pending, self._facets  # in this order, as another thread may end _build in between
        if facets is not None:
            store._facets = facets.with_items(n_rows, records)
        elif pending is not None:
            store._pending = _Pending(pending.base, n_rows, {**pending.records, **records})
        else:
            store._pending = _Pending(self, n_rows, records)
        return store


def build_facets(items: PackedStrings, types: Mapping[str, AttributeType] = _NO_TYPES) -> Facets:
    """The facets of all items, from one pass over their records. `types` are those that the bundle declares."""
    categories = ColumnBuilder("string")
    attributes, titles = ColumnBuilders(types, {}), []
    own: dict[int, Mapping[str, Any]] = {}
    for row, record in enumerate(_records(items)):
        categories.add(row, record["category"])
        titles.append(_title(record))
        for name, value in record["attributes"].items():
            if name != CATEGORY:
                attributes.add(row, name, value)
        if OwnFields.known_of(record):
            own[row] = record
    columns = {**attributes.build(len(items)), **ColumnBuilders.built({CATEGORY: categories}, len(items))}
    return Facets(
        len(items),
        columns,
        frozenset(attributes.unheld),
        frozenset(attributes.without_value),
        TitleColumn.pack(titles),
        OwnFields.of_bundle(len(items), own),
        types,
    )


def _title(record: Mapping[str, Any] | None) -> str:
    return "" if record is None else record["title"]


def _attributes(record: Mapping[str, Any]) -> dict[str, Any]:
    return {**record["attributes"], CATEGORY: record["category"]}


def _records(items: PackedStrings) -> Iterator[dict[str, Any]]:
    for start in range(0, len(items), CHUNK):
        ends = items.offsets[start : start + CHUNK + 1].tolist()
        text = items.blob[ends[0] : ends[-1]].tobytes()
        array_body = b",".join([text[start - ends[0] : end - ends[0]] for start, end in pairwise(ends)])
        yield from orjson.loads(b"[" + array_body + b"]")  # one call for many records takes a third of the time


def union(groups: Sequence[Array]) -> Array:
    """The rows (r,) that are in any of the groups of ascending rows, ascending."""
    touched = np.zeros(1 + max((int(rows[-1]) for rows in groups if len(rows)), default=0), np.bool_)
    for rows in groups:  # sorting all their rows would take far longer
        touched[rows] = True
    return np.flatnonzero(touched)


def intersect(groups: Sequence[Array]) -> Array | None:
    """The rows that are in every group of ascending rows; None, which means all rows, without any group."""
    if not groups:
        return None
    shared, *others = sorted(groups, key=len)
    for other in others:
        if not len(shared):
            break
        mask = np.zeros(1 + max(int(shared[-1]), int(other[-1])), np.bool_)
        mask[other] = True
        shared = shared[mask[shared]]
    return shared
