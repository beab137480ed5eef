"""Finds similar items by cosine: of the item embeddings, of one modality's features, or of the ID part."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.cosine_scan import CosineScan
from index.ranking import unit_rows
from index.recommending.attribution import count_in_common
from index.recommending.profile import NO_ROWS
from index.recommending.spaces import is_copied, unit_index, vectors_by_space
from index.recommending.steps import Steps
from index.tables import Table
from service.errors import InvalidRequestError
from service.ranking.built_once import BuiltOnce, failed
from service.ranking.cosine_search import CosineSearch
from service.ranking.search import InlineSearch, ItemSearch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class VectorSpace:
    """The search over the unit vectors of all items in one space."""

    unknown: Array  # the rows of zeros: the space has no vector for the item
    search: ItemSearch

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows, and those without a vector."""
        self.search.hide(np.union1d(rows, self.unknown))


class SimilarItems:
    """The nearest items in each space of a bundle; a space is built when it is first needed, in a thread.

    Building copies all vectors of a space into an index, or reads those of a large one for their lengths. What is built
    of the very arrays that others search is built once for all of them, who may hide other rows.
    """

    def __init__(self, bundle: Bundle, shared_with: "Sequence[SimilarItems]" = ()) -> None:
        self._bundle = bundle
        self._vectors = vectors_by_space(bundle)
        self._openers = {by: _opener(by, vectors, shared_with) for by, vectors in self._vectors.items()}
        self._building: dict[str, asyncio.Future[VectorSpace]] = {}
        self._hidden = NO_ROWS

    @property
    def spaces(self) -> tuple[str, ...]:
        """The values that `by` may have."""
        return tuple(self._vectors)

    @property
    def copied_spaces(self) -> tuple[str, ...]:
        """The spaces that are small enough to be copied, and so to be built before the service is ready."""
        return tuple(by for by, vectors in self._vectors.items() if is_copied(vectors))

    def vectors(self, by: str, rows: Array) -> Array:
        """The unit vectors (len(rows), width) of some items. InvalidRequestError where the bundle lacks the space."""
        return unit_rows(self._vectors_of(by)[rows])

    async def nearest(
        self, row: int, k: int, by: str, *, without: Array = NO_ROWS, within: Array | None = None
    ) -> tuple[Array, Array] | None:
        """Rows and cosines of the k nearest other items in the space; None where the space has no vector for `row`.

        Rows in `without` are excluded, and with `within` (ascending) all rows outside it. InvalidRequestError where the
        bundle lacks the space.
        """
        space = await self.space(by)
        (vector,) = self.vectors(by, np.array([row]))
        if not vector.any():
            return None
        excluded = np.append(without, row)
        if within is None:  # one search may serve several requests
            return await space.search(vector, k, excluded)
        (nearest,) = await space.search.many([vector], k, [excluded], within)
        return nearest

    async def build(self) -> None:
        """Build every small space that is not built yet, one after another; a large one waits for its first request."""
        for by in self.copied_spaces:
            await self.space(by)

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows in every space."""
        self._hidden = rows
        for building in self._building.values():
            if building.done() and not building.cancelled() and building.exception() is None:
                building.result().hide(rows)

    async def space(self, by: str) -> VectorSpace:
        """The space, built if need be. InvalidRequestError where the bundle lacks it."""
        self._vectors_of(by)
        building = self._building.get(by)
        if building is None or failed(building):
            building = self._building[by] = asyncio.ensure_future(self._open(by))
        if building.done():
            return building.result()
        return await asyncio.shield(building)  # a cancelled caller does not cancel it for the others

    async def _open(self, by: str) -> VectorSpace:
        space = (await self._openers[by].get())()
        space.hide(self._hidden)  # without an await between: `hide` reaches the space from now on
        return space

    def _vectors_of(self, by: str) -> Table:
        vectors = self._vectors.get(by)
        if vectors is None:
            raise InvalidRequestError(f"by: this bundle has {', '.join(self._vectors)}, found {by!r}")
        return vectors

    def cosines(self, row: int, rows: Array) -> Mapping[str, Array]:
        """The cosine of the item with each of the rows (k,), in every space."""
        return {by: self.vectors(by, rows) @ self.vectors(by, np.array([row]))[0] for by in self._vectors}

    def users_in_common(self, row: int, rows: Array) -> Steps[list[int]]:
        """For each of the rows, how many users had both items in training."""
        users, counts = self._bundle.users_of(row), []
        for other in rows.tolist():
            counts.append(count_in_common(users, self._bundle.users_of(other)))
            yield
        return counts


def _opener(by: str, vectors: Table, shared_with: Sequence[SimilarItems]) -> BuiltOnce[Callable[[], VectorSpace]]:
    for other in shared_with:
        if other._vectors.get(by) is vectors:
            return other._openers[by]
    return BuiltOnce(lambda: _unit_space(vectors))


def _unit_space(vectors: Table) -> Callable[[], VectorSpace]:
    """What opens the space of these vectors (n_items, width); each has its own hidden rows, and all share memory."""
    if not is_copied(vectors):
        scan = CosineScan(vectors)
        return lambda: VectorSpace(scan.unknown, CosineSearch(scan))
    index, unknown = unit_index(vectors)
    return lambda: VectorSpace(unknown, InlineSearch(index))
