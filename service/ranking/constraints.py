"""Rules and filters as rows of one bundle: what may be shown, what is raised, what is pinned."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from index.ids import IdTable
from service.ranking.facets import CATEGORY, Facets, FacetStore, common
from service.ranking.profile import NO_ROWS
from service.ranking.rules import Choice, Pin, Rules

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Constraints:
    """Under which an answer is given, whoever it is for. `Constraints()` are none at all."""

    within: Array | None = None  # ascending rows that alone may be shown; None: every row
    excluded: Array = field(default_factory=lambda: NO_ROWS)  # rows that may not
    boosts: tuple[tuple[Array, float], ...] = ()  # ascending rows and by how much
    pins: tuple[tuple[int, int], ...] = ()  # position from 1, row; the more important first

    @property
    def none(self) -> bool:
        """Whether they change nothing."""
        return self.within is None and not (len(self.excluded) or self.boosts or self.pins)

    def with_(self, others: "Constraints") -> "Constraints":
        """Both at once; where pins meet, these come first."""
        groups = [one.within for one in (self, others) if one.within is not None]
        pinned = {row for _, row in self.pins}
        return Constraints(
            common(groups),
            np.concatenate([self.excluded, others.excluded]),
            self.boosts + others.boosts,
            self.pins + tuple(pin for pin in others.pins if pin[1] not in pinned),
        )

    @cached_property
    def boosted(self) -> tuple[Array, Array]:
        """The rows (b,) that are boosted, ascending, and by how much in all (b,) float64."""
        if not self.boosts:
            return NO_ROWS, np.empty(0)
        rows = np.concatenate([rows for rows, _ in self.boosts])
        amounts = np.repeat([by for _, by in self.boosts], [len(rows) for rows, _ in self.boosts])
        found, place = np.unique(rows, return_inverse=True)
        return found, np.bincount(place, amounts, minlength=len(found))

    def admits(self, n_items: int) -> Array:
        """A mask (n_items,) of the rows that may be shown."""
        mask = np.ones(n_items, np.bool_)
        if self.within is not None:
            mask[:] = False
            mask[self.within] = True
        mask[self.excluded] = False
        return mask


NO_CONSTRAINTS = Constraints()


@dataclass(frozen=True)
class Filters:
    """What a call asks of the items of its answer."""

    categories: Sequence[str] = ()
    required: Sequence[tuple[str, str]] = ()  # name and value
    exclude: Sequence[str] = ()  # item ids; those that the bundle lacks are nothing to leave out


async def filter_constraints(filters: Filters, item_ids: IdTable, facet_store: FacetStore) -> Constraints:
    """The terms of filters: categories are alternatives, and so are values of one attribute."""
    excluded = rows_of(filters.exclude, item_ids)
    if not (filters.categories or filters.required):
        return Constraints(None, excluded)
    facets = await facet_store.facets()
    groups = _required(filters.required, facets)
    if filters.categories:
        groups.append(facets.rows_with(CATEGORY, filters.categories))
    return Constraints(common(groups), excluded)


async def rule_constraints(rules: Rules, item_ids: IdTable, facet_store: FacetStore) -> Constraints:
    """The terms of rules. InvalidRequestError where they name an attribute that no item has."""
    chosen: list[Choice] = [*rules.boost, *rules.block, *rules.require]
    facets = await facet_store.facets() if any(one.item_id is None for one in chosen) else None
    boosts = [(_chosen(one, item_ids, facets), one.by) for one in rules.boost]
    blocked = [_chosen(one, item_ids, facets) for one in rules.block]
    return Constraints(
        common(_required([one.facet for one in rules.require], facets)) if facets and rules.require else None,
        np.unique(np.concatenate([NO_ROWS, *blocked])),
        tuple((rows, by) for rows, by in boosts if len(rows)),
        tuple(sorted(_pins(rules.pin, item_ids))),
    )


def _required(pairs: Iterable[tuple[str, str]], facets: Facets) -> list[Array]:
    by_name: dict[str, list[str]] = {}
    for name, value in pairs:
        by_name.setdefault(name, []).append(value)
    return [facets.rows_with(name, values) for name, values in by_name.items()]


def _chosen(choice: Choice, item_ids: IdTable, facets: Facets | None) -> Array:
    if choice.item_id is not None:
        return rows_of([choice.item_id], item_ids)
    assert facets is not None  # asked for by whoever found a choice like this
    name, value = choice.facet
    return facets.rows_with(name, [value])


def _pins(pins: Sequence[Pin], item_ids: IdTable) -> Iterable[tuple[int, int]]:
    for pin in pins:
        row = item_ids.row(pin.item_id)
        if row is not None:
            yield pin.position, row


def rows_of(ids: Iterable[str], item_ids: IdTable) -> Array:
    """The rows of those ids that the bundle knows, ascending."""
    rows = item_ids.rows(list(dict.fromkeys(ids)))
    found: Array = np.sort(rows[rows >= 0])
    return found
