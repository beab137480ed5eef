"""Which items have which category and attribute values: what filters, rules and caps per category look up.

Made of the items' own records on first need, in a thread, and kept: shops that never filter pay nothing.
"""

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from index.bundle import Bundle
from index.ids import PackedStrings
from service.errors import InvalidRequestError

Array = np.ndarray[Any, Any]

CATEGORY = "category"  # filtered by like an attribute; an attribute of this name stands behind it
MOST_FACETS = 64  # attributes beyond these, in order of appearance, cannot be filtered by
MOST_VALUES = 50_000  # different values of one attribute: beyond it is free text or a number of its own for each item
LONGEST_VALUE = 256  # characters; longer ones are text and not looked up
MOST_OF_ONE_ITEM = 64  # values of one attribute of one item
CHUNK = 1_024  # records parsed at once: so long other threads wait


@dataclass(frozen=True, eq=False)
class Facet:
    """The values of one attribute by number, and the rows of each: of v they are rows[offsets[v]:offsets[v + 1]]."""

    values: Mapping[str, int]
    offsets: Array  # (n_values + 1,) int64
    rows: Array  # ascending within a value

    def rows_of(self, value: str) -> Array:
        """The rows that have the value, ascending; none for a value that nobody has."""
        code = self.values.get(value)
        return self.rows[:0] if code is None else self.rows[self.offsets[code] : self.offsets[code + 1]]


@dataclass(frozen=True, eq=False)
class Facets:
    """Every facet of a bundle's items; the category is one of them."""

    known: Mapping[str, Facet]
    categories: Array  # (n_items,) int32: which category each item is of, -1 for none

    def rows_with(self, name: str, values: Iterable[str]) -> Array:
        """The rows that have any of the values, ascending. InvalidRequestError where no item has such an attribute."""
        facet = self.known.get(name)
        if facet is None:
            raise InvalidRequestError(f"no item can be chosen by {name[:80]!r}; known are {self._names()}")
        found = [facet.rows_of(value) for value in values]
        return found[0] if len(found) == 1 else np.unique(np.concatenate([facet.rows[:0], *found]))

    def rows_of_category(self, code: int) -> Array:
        """The rows of a category by its number in `categories`."""
        facet = self.known[CATEGORY]
        return facet.rows[facet.offsets[code] : facet.offsets[code + 1]]

    def _names(self) -> str:
        return ", ".join(sorted(self.known))


class FacetStore:
    """The facets of one bundle, built once, when they are first needed."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._building: asyncio.Future[Facets] | None = None

    async def facets(self) -> Facets:
        """The facets; whoever comes while they are built waits for the same ones."""
        if self._building is None:
            self._building = asyncio.ensure_future(asyncio.to_thread(facets_of, self._bundle.items))
        return await asyncio.shield(self._building)  # a caller that leaves does not end it for the others


def facets_of(items: PackedStrings) -> Facets:
    """Read every item's record once."""
    growing = {CATEGORY: _Growing()}
    for row, record in enumerate(_records(items)):
        growing[CATEGORY].add(row, record["category"])
        for name, value in record["attributes"].items():
            one = growing.get(name)
            if one is not None and name != CATEGORY:
                one.add(row, value)
            elif one is None and len(growing) <= MOST_FACETS:
                growing[name] = _Growing()
                growing[name].add(row, value)
    categories = np.full(len(items), -1, np.int32)
    of_category = growing[CATEGORY]
    categories[np.array(of_category.rows, np.int64)] = of_category.codes
    return Facets({name: one.facet() for name, one in growing.items() if not one.too_many}, categories)


def _records(items: PackedStrings) -> Iterator[dict[str, Any]]:
    for start in range(0, len(items), CHUNK):
        ends = items.offsets[start : start + CHUNK + 1].tolist()
        text = items.blob[ends[0] : ends[-1]].tobytes()
        whole = b",".join([text[one - ends[0] : next_one - ends[0]] for one, next_one in pairwise(ends)])
        yield from orjson.loads(b"[" + whole + b"]")  # one call for many records: a third of the time


@dataclass
class _Growing:
    """A facet while the items are read."""

    values: dict[str, int] = field(default_factory=dict)
    codes: "array[int]" = field(default_factory=lambda: array("i"))
    rows: "array[int]" = field(default_factory=lambda: array("i"))
    too_many: bool = False

    def add(self, row: int, value: Any) -> None:
        """Take in what one item has: a word, a number, a truth, or a list of such."""
        code = self.values.get(value) if type(value) is str else None
        if code is not None:  # by far the most: a word that was met before
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

    def facet(self) -> Facet:
        codes, rows = np.array(self.codes, np.int32), np.array(self.rows, np.int32)
        counts = np.bincount(codes, minlength=len(self.values))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        return Facet(self.values, offsets, rows[np.argsort(codes, kind="stable")])


def as_text(value: Any) -> str | None:
    """A value as callers write it: JSON's own form of numbers and truths; None for what has no short form."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if isinstance(value, bool | int | float) else None


def common(groups: Sequence[Array]) -> Array | None:
    """The rows that stand in every group of ascending rows; None, for all rows, where there is no group."""
    if not groups:
        return None
    found, *others = sorted(groups, key=len)
    for other in others:
        found = np.intersect1d(found, other, assume_unique=True)
    return found
