"""Constraints on a list of items, in rows of one bundle: filters, blocks, boosts and pins."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from index.ids import IdTable
from index.recommending.profile import NO_ROWS
from index.recommending.steps import done
from service.ranking.facets import CATEGORY, Facets, FacetStore, intersect, union
from service.ranking.filters.parsing import Filter
from service.ranking.rules import Choice, Pin, Rules
from service.ranking.turns import Turn

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Constraints:
    """Constraints on every list of one request; `Constraints()` constrains nothing."""

    within: Array | None = None  # ascending rows, the only ones that may be shown; None: every row
    excluded: Array = field(default_factory=lambda: NO_ROWS)  # rows that may not be shown
    boosts: tuple[tuple[Array, float], ...] = ()  # ascending rows, and the amount in units of Scoring.boost_unit
    pins: tuple[tuple[int, int], ...] = ()  # position from 1, and row; an earlier pin takes precedence
    warnings: tuple[str, ...] = ()  # what a caller may have misspelt in a filter

    def merged_with(self, others: "Constraints") -> "Constraints":
        """Both constraints at once; pins of `self` take precedence."""
        groups = [constraints.within for constraints in (self, others) if constraints.within is not None]
        pinned = {row for _, row in self.pins}
        return Constraints(
            intersect(groups),
            np.concatenate([self.excluded, others.excluded]),
            self.boosts + others.boosts,
            self.pins + tuple(pin for pin in others.pins if pin[1] not in pinned),
            self.warnings + others.warnings,
        )

    @cached_property
    def boosted(self) -> tuple[Array, Array]:
        """The boosted rows (b,), ascending, and the sum of each one's boosts (b,) float64."""
        if not self.boosts:
            return NO_ROWS, np.empty(0)
        sums = np.zeros(1 + max(int(rows[-1]) for rows, _ in self.boosts))
        touched = np.zeros(len(sums), np.bool_)
        for rows, amount in self.boosts:  # sorting all their rows would take far longer
            sums[rows] += amount
            touched[rows] = True
        boosted = np.flatnonzero(touched)
        return boosted, sums[boosted]

    def allowed_mask(self, n_items: int) -> Array:
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
    """The filters of one request on the items of its lists."""

    categories: Sequence[str] = ()
    required: Sequence[tuple[str, str]] = ()  # attribute and value
    exclude: Sequence[str] = ()  # item ids; unknown ones have no effect
    chosen: Filter | None = None  # in the filter language


async def filter_constraints(
    filters: Filters, item_ids: IdTable, facet_store: FacetStore, *, now: float = 0.0, turn: Turn | None = None
) -> Constraints:
    """The constraints that filters set: categories are alternatives, and so are the values of one attribute.

    InvalidRequestError where `required` names an attribute that no item has, or `chosen` compares different types.
    now: in unix seconds. turn: pauses between the comparisons of a filter.
    """
    excluded = known_rows(filters.exclude, item_ids)
    if not (filters.categories or filters.required or filters.chosen):
        return Constraints(None, excluded)
    facets = await facet_store.facets()
    warnings: tuple[str, ...] = ()
    groups = _matching_rows(filters.required, facets)
    if filters.categories:
        groups.append(facets.rows_with(CATEGORY, filters.categories))
    if filters.chosen is not None:
        steps = facets.select(filters.chosen, item_ids, now)
        selection = done(steps) if turn is None else await turn.run(steps)
        groups.append(selection.rows)
        warnings = selection.warnings
    return Constraints(intersect(groups), excluded, warnings=warnings)


async def rule_constraints(rules: Rules, item_ids: IdTable, facet_store: FacetStore) -> Constraints:
    """The constraints that rules set. InvalidRequestError where a rule names an attribute that no item has."""
    choices: list[Choice] = [*rules.boost, *rules.block, *rules.require]
    facets = await facet_store.facets() if any(choice.item_id is None for choice in choices) else None
    boosts = [(_chosen_rows(boost, item_ids, facets), boost.by) for boost in rules.boost]
    blocked = [_chosen_rows(block, item_ids, facets) for block in rules.block]
    required = [requirement.facet for requirement in rules.require]
    return Constraints(
        intersect(_matching_rows(required, facets)) if facets and required else None,
        union(blocked),
        tuple((rows, amount) for rows, amount in boosts if len(rows)),
        tuple(sorted(_pinned_rows(rules.pin, item_ids))),
    )


def _matching_rows(pairs: Iterable[tuple[str, str]], facets: Facets) -> list[Array]:
    """For each attribute the rows that have one of its values."""
    by_name: dict[str, list[str]] = {}
    for name, value in pairs:
        by_name.setdefault(name, []).append(value)
    return [facets.rows_with(name, values) for name, values in by_name.items()]


def _chosen_rows(choice: Choice, item_ids: IdTable, facets: Facets | None) -> Array:
    if choice.item_id is not None:
        row = item_ids.row(choice.item_id)
        return NO_ROWS if row is None else np.array([row], np.int64)
    assert facets is not None  # loaded above where a choice names no item
    name, value = choice.facet
    return facets.rows_with(name, [value])


def _pinned_rows(pins: Sequence[Pin], item_ids: IdTable) -> Iterable[tuple[int, int]]:
    for pin in pins:
        row = item_ids.row(pin.item_id)
        if row is not None:
            yield pin.position, row


def known_rows(ids: Iterable[str], item_ids: IdTable) -> Array:
    """The rows of the ids that the bundle has, ascending; unknown ids are skipped."""
    rows = item_ids.rows(list(dict.fromkeys(ids)))
    known: Array = np.sort(rows[rows >= 0])
    return known
