"""Maps categories and attribute values to the items that have them, for filters, rules and category caps.

Facets are built from the items' records in a thread: by a request that warms up the start, or after it where there are
so many items that they take seconds.
"""

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise, repeat
from typing import Any

import numpy as np
import orjson

from index.bundle import Bundle
from index.ids import PackedStrings
from service.errors import InvalidRequestError

Array = np.ndarray[Any, Any]

CATEGORY = "category"  # a facet like an attribute; an attribute of the same name is ignored
MOST_FACETS = 64  # attributes beyond these, in order of appearance, are no facets
MOST_VALUES = 50_000  # distinct values of one attribute; one with more is free text or unique for each item
LONGEST_VALUE = 256  # characters; longer values are free text
MOST_OF_ONE_ITEM = 64  # values of one attribute of one item
LEAST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1  # that orjson reads and writes as integers
LARGEST_EXPONENT = 1_024  # of a float, to base 2
CHUNK = 1_024  # records parsed in one call, during which other threads wait


@dataclass(frozen=True, eq=False)
class Facet:
    """The values of one attribute by code, and their rows: code v has rows[offsets[v]:offsets[v + 1]]."""

    values: Mapping[str, int]
    offsets: Array  # (n_values + 1,) int64
    rows: Array  # ascending within a value

    def rows_of(self, value: str) -> Array:
        """The rows that have the value, ascending; empty for an unknown value."""
        code = self.values.get(value)
        return self.rows[:0] if code is None else self.rows[self.offsets[code] : self.offsets[code + 1]]


@dataclass(frozen=True, eq=False)
class Facets:
    """The facets of a bundle's items by name; the category is one of them."""

    by_name: Mapping[str, Facet]
    categories: Array  # (n_items,) int32: the code of each item's category, -1 for none

    def rows_with(self, name: str, values: Iterable[str]) -> Array:
        """The rows that have any of the values, ascending. InvalidRequestError where no item has such an attribute."""
        facet = self.by_name.get(name)
        if facet is None:
            raise InvalidRequestError(f"no item can be chosen by {name[:80]!r}; known are {self._names()}")
        groups = [facet.rows_of(value) for value in dict.fromkeys(values)]  # a request may repeat one 500 times
        return groups[0] if len(groups) == 1 else union(groups)

    def rows_of_category(self, code: int) -> Array:
        """The rows of a category by its code in `categories`."""
        facet = self.by_name[CATEGORY]
        return facet.rows[facet.offsets[code] : facet.offsets[code + 1]]

    def _names(self) -> str:
        return ", ".join(sorted(self.by_name))


class FacetStore:
    """The facets of one bundle, built once, when they are first needed."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._building: asyncio.Future[Facets] | None = None
        self._records: dict[int, Mapping[str, Any] | None] = {}
        self._n_rows = len(bundle.items)

    def with_items(self, n_rows: int, records: Mapping[int, Mapping[str, Any] | None]) -> "FacetStore":
        """The store of n_rows items of which some are new or changed; this store stays as it is.

        records: by row, as a bundle holds them, with `available` and `created_at`; None for an item that was deleted.
        """
        store = FacetStore(self._bundle)
        store._records, store._n_rows = {**self._records, **records}, n_rows
        return store

    async def facets(self) -> Facets:
        """The facets; concurrent callers wait for the same build."""
        return await asyncio.shield(self.begin())  # a cancelled caller does not cancel it for the others

    def begin(self) -> "asyncio.Future[Facets]":
        """Begin to build the facets, unless that is done or has begun."""
        if self._building is None or _failed(self._building):
            self._building = asyncio.ensure_future(asyncio.to_thread(self._build))
            self._building.add_done_callback(_failed)  # reads its exception, which else is logged where no one waits
        return self._building

    def _build(self) -> Facets:
        if not self._records:
            return build_facets(self._bundle.items)
        records = chain(_records(self._bundle.items), repeat(_NOTHING, self._n_rows - len(self._bundle.items)))
        changed = (self._records.get(row, record) or _NOTHING for row, record in enumerate(records))
        return _facets_of(changed, self._n_rows)


_NOTHING: Mapping[str, Any] = {"category": "", "attributes": {}}


def _failed(building: "asyncio.Future[Facets]") -> bool:
    return building.done() and (building.cancelled() or building.exception() is not None)


def build_facets(items: PackedStrings) -> Facets:
    """The facets of all items, from one pass over their records."""
    return _facets_of(_records(items), len(items))


def _facets_of(records: Iterable[Mapping[str, Any]], n_rows: int) -> Facets:
    builders = {CATEGORY: _FacetBuilder()}
    for row, record in enumerate(records):
        builders[CATEGORY].add(row, record["category"])
        for name, value in record["attributes"].items():
            builder = builders.get(name)
            if builder is not None and name != CATEGORY:
                builder.add(row, value)
            elif builder is None and len(builders) <= MOST_FACETS:
                builders[name] = _FacetBuilder()
                builders[name].add(row, value)
    categories = np.full(n_rows, -1, np.int32)
    categories[np.array(builders[CATEGORY].rows, np.int64)] = builders[CATEGORY].codes
    return Facets({name: builder.build() for name, builder in builders.items() if not builder.too_many}, categories)


def _records(items: PackedStrings) -> Iterator[dict[str, Any]]:
    for start in range(0, len(items), CHUNK):
        ends = items.offsets[start : start + CHUNK + 1].tolist()
        text = items.blob[ends[0] : ends[-1]].tobytes()
        array_body = b",".join([text[start - ends[0] : end - ends[0]] for start, end in pairwise(ends)])
        yield from orjson.loads(b"[" + array_body + b"]")  # one call for many records takes a third of the time


@dataclass
class _FacetBuilder:
    values: dict[str, int] = field(default_factory=dict)
    codes: "array[int]" = field(default_factory=lambda: array("i"))
    rows: "array[int]" = field(default_factory=lambda: array("i"))
    too_many: bool = False

    def add(self, row: int, value: Any) -> None:
        """Add the value of one item: text, a number, a boolean, or a list of these."""
        code = self.values.get(value) if type(value) is str else None
        if code is not None:  # the most frequent case: text that has a code
            self.codes.append(code)
            self.rows.append(row)
        elif isinstance(value, list):
            for text in dict.fromkeys(map(as_text, value[:MOST_OF_ONE_ITEM])):
                self._add(row, text)
        else:
            self._add(row, as_text(value))

    def _add(self, row: int, text: str | None) -> None:
        if not text or self.too_many or len(text) > LONGEST_VALUE:
            return
        code = self.values.setdefault(text, len(self.values))
        if code == MOST_VALUES:
            self.values, self.codes, self.rows, self.too_many = {}, array("i"), array("i"), True
            return
        self.codes.append(code)
        self.rows.append(row)

    def build(self) -> Facet:
        codes, rows = np.array(self.codes, np.int32), np.array(self.rows, np.int32)
        counts = np.bincount(codes, minlength=len(self.values))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        return Facet(self.values, offsets, rows[np.argsort(codes, kind="stable")])


def as_text(value: Any) -> str | None:
    """A value as requests spell it: numbers and booleans in JSON's form; None for what no item can have."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not LEAST_INTEGER <= value <= LARGEST_INTEGER:  # orjson reads it as a float
        return as_text(float(value)) if value.bit_length() < LARGEST_EXPONENT else None
    return orjson.dumps(value).decode() if isinstance(value, bool | int | float) else None


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
        shared = np.intersect1d(shared, other, assume_unique=True)
    return shared
