"""The map of a bundle's items as responses show it: thinned to a number of items, in groups."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from index.bundle import Bundle
from index.item_map import ItemMap
from service.ranking.facets import Facets

Array = np.ndarray[Any, Any]
By = Literal["category", "cluster"]

GRID = 64  # cells of the map in each direction
MOST_GROUPS = 50  # that have names; items of others are in none
DIGITS = 4  # of a place: a ten-thousandth of the map's side
OTHER = -1


class MapQuery(NamedTuple):
    """What of the map is shown."""

    k: int
    by: By | None  # None: by category, where items have categories
    named: frozenset[str]  # ids of items that are shown beside the k


@dataclass(frozen=True)
class _Grouping:
    by: By
    codes: Array  # of each item (n_items,)
    names: Sequence[str]  # by code


class _Last(NamedTuple):
    facets: Facets
    hidden: Array
    query: MapQuery
    fields: bytes


class CatalogueMap:
    """Renders the map; the last rendering is kept, as all visitors of a page request the same."""

    def __init__(self, bundle: Bundle, item_map: ItemMap) -> None:
        self._bundle = bundle
        self._map = item_map
        self._rendering = asyncio.Lock()  # several threads at once would wait for each other
        self._last: _Last | None = None

    async def rendered(self, facets: Facets, hidden: Array, query: MapQuery) -> orjson.Fragment:
        """The fields of a response, as the JSON of an object. hidden: ascending rows that are left out."""
        async with self._rendering:
            last = self._last
            if (
                last is None
                or last.facets is not facets
                or last.query != query
                or not np.array_equal(last.hidden, hidden)
            ):
                fields = await asyncio.to_thread(self._render, facets, hidden, query)
                self._last = last = _Last(facets, hidden.copy(), query, fields)
            return orjson.Fragment(last.fields)

    @cached_property
    def _order(self) -> Array:
        return thinning_order(self._map.positions, self._bundle.popularity_count)

    def _render(self, facets: Facets, hidden: Array, query: MapQuery) -> bytes:
        is_shown = np.ones(len(self._order), np.bool_)
        is_shown[hidden[hidden < len(is_shown)]] = False
        rows = self._order[is_shown[self._order]][: query.k]
        named = {item_id: row for item_id, row in self._rows(query.named) if is_shown[row]}
        rows = np.concatenate([rows, np.setdiff1d([*named.values()], rows).astype(rows.dtype)])
        grouping = self._grouping(facets, query.by)
        groups, group_of = _largest_groups(grouping, is_shown)
        places = self._map.positions[rows].astype(np.float64).round(DIGITS)
        fields = {
            "by": grouping.by,
            "method": self._map.method,
            "total": int(is_shown.sum()),
            "groups": groups,
            "item_ids": [self._bundle.item_ids[row] for row in rows.tolist()],
            "x": np.ascontiguousarray(places[:, 0]),
            "y": np.ascontiguousarray(places[:, 1]),
            "group": group_of[rows],
            "unplaced": sorted(query.named - named.keys()),
        }
        return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)

    def _rows(self, item_ids: Iterable[str]) -> Iterable[tuple[str, int]]:
        """The ids that the bundle was trained with, and their rows."""
        found = ((item_id, self._bundle.item_ids.row(item_id)) for item_id in item_ids)
        return ((item_id, row) for item_id, row in found if row is not None)

    def _grouping(self, facets: Facets, by: By | None) -> _Grouping:
        categories = facets.categories[: len(self._order)]
        if by == "category" or (by is None and (categories >= 0).any()):
            return _Grouping("category", categories, facets.category_names)
        cluster_of = self._map.cluster_of.astype(np.int32)
        names = [
            _cluster_name(cluster, categories[cluster_of == cluster], facets.category_names)
            for cluster in range(self._map.clusters)
        ]
        return _Grouping("cluster", cluster_of, names)


def thinning_order(positions: Array, popularity: Array) -> Array:
    """All rows, so that the first k, for any k, are the map thinned evenly, with the popular items kept.

    Of each cell of a grid the same share comes before any k, the most popular first: crowded places stay crowded, and
    no place becomes empty before every cell has but one item left.
    """
    columns = np.minimum((positions * GRID).astype(np.int64), GRID - 1)
    cells = columns[:, 0] * GRID + columns[:, 1]
    by_cell = np.lexsort((-popularity, cells))  # stable: of equals the first row comes first
    sizes = np.bincount(cells, minlength=GRID * GRID)
    starts = np.cumsum(sizes) - sizes
    cell = cells[by_cell]
    shares = (np.arange(len(cells)) - starts[cell]) / sizes[cell]
    order: Array = by_cell[np.lexsort((-popularity[by_cell], shares))]
    return order


def _largest_groups(grouping: _Grouping, is_shown: Array) -> tuple[list[dict[str, Any]], Array]:
    """The groups with most shown items, largest first, and the place in that list of each item's group, or OTHER."""
    counted = grouping.codes[is_shown & (grouping.codes >= 0)]
    counts = np.bincount(counted, minlength=len(grouping.names))
    chosen = np.argsort(-counts, kind="stable")[:MOST_GROUPS]
    chosen = chosen[counts[chosen] > 0]
    place = np.full(len(counts) + 1, OTHER, np.int32)  # the last one is that of items without a group
    place[chosen] = np.arange(len(chosen))
    return [{"name": grouping.names[code], "items": int(counts[code])} for code in chosen.tolist()], place[
        grouping.codes
    ]


def _cluster_name(cluster: int, categories: Array, names: Sequence[str]) -> str:
    """`cluster 3`, and the category of more than half of its items, if there is one."""
    counts = np.bincount(categories[categories >= 0], minlength=1)
    most = int(counts.argmax())
    return f"cluster {cluster + 1}" + (f", mostly {names[most]}" if 2 * counts[most] > len(categories) else "")
