"""Which items are near which: by the learned embeddings, by one modality, by the ID part; cosine throughout."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.item_index import ItemIndex
from index.ranking import unit_rows
from service.errors import InvalidRequestError
from service.ranking.attribution import count_in_common
from service.ranking.profile import NO_ROWS
from service.ranking.search import Inline, Search

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Space:
    """Unit vectors of all items (a zero row: nothing known) and the search over those that are known."""

    vectors: Array  # (n_items, width) float32
    unknown: Array  # rows
    search: Search

    def hide(self, rows: Array) -> None:
        """Let exactly these rows never come back, beside those that are unknown."""
        self.search.hide(np.union1d(rows, self.unknown))


class SimilarItems:
    """Nearest items in every space that the bundle has; a space is built when it is first needed, in a thread.

    Building reads all vectors of a space and copies them into an index: seconds in large catalogues, which a start
    need not wait for.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._vectors = _vectors(bundle)
        self._building: dict[str, asyncio.Future[Space]] = {}
        self._hidden = NO_ROWS

    @property
    def spaces(self) -> tuple[str, ...]:
        """What `by` may be."""
        return tuple(self._vectors)

    def vectors(self, by: str, rows: Array) -> Array:
        """The unit vectors (len(rows), width) of some items. InvalidRequestError where the bundle lacks the space."""
        return unit_rows(self._of(by)[rows])

    async def nearest(
        self, row: int, k: int, by: str, *, without: Array = NO_ROWS, within: Array | None = None
    ) -> tuple[Array, Array] | None:
        """Rows and cosines of the k nearest other items that the space knows; None where it does not know this one.

        `without` rows are left out, and others than the ascending rows `within`, if given. InvalidRequestError where
        the bundle lacks the space.
        """
        space = await self._space(by)
        vector = space.vectors[row]
        if not vector.any():
            return None
        (found,) = await space.search.many([vector], k, [np.append(without, row)], within)
        return found

    async def build(self) -> None:
        """Build every space that is not built yet, one after another."""
        for by in self.spaces:
            await self._space(by)

    def hide(self, rows: Array) -> None:
        """Let exactly these rows never come back, in any space."""
        self._hidden = rows
        for building in self._building.values():
            if building.done() and building.exception() is None:
                building.result().hide(rows)

    async def _space(self, by: str) -> Space:
        vectors = self._of(by)
        building = self._building.get(by)
        if building is None:
            building = self._building[by] = asyncio.ensure_future(self._built(vectors))
        if building.done():
            return building.result()
        return await asyncio.shield(building)  # a caller that leaves does not end it for the others

    async def _built(self, vectors: Array) -> Space:
        space = await asyncio.to_thread(_space, vectors)
        space.hide(self._hidden)  # here and now: what is hidden after this is hidden in a space that is built
        return space

    def _of(self, by: str) -> Array:
        vectors = self._vectors.get(by)
        if vectors is None:
            raise InvalidRequestError(f"by: this bundle has {', '.join(self._vectors)}, found {by!r}")
        return vectors

    def cosines(self, row: int, rows: Array) -> Mapping[str, Array]:
        """The cosine of the item with each of the rows (k,), in every space."""
        return {by: self.vectors(by, rows) @ self.vectors(by, np.array([row]))[0] for by in self._vectors}

    def users_in_common(self, row: int, rows: Array) -> list[int]:
        """How many users had both items in training, for each of the rows."""
        users = self._bundle.users_of(row)
        return [count_in_common(users, self._bundle.users_of(other)) for other in rows.tolist()]


def _vectors(bundle: Bundle) -> dict[str, Array]:
    named = {"fused": bundle.item_embeddings, **bundle.neighbours}
    if "id" in bundle.item_parts:
        named["id"] = bundle.item_parts["id"]
    return named


def _space(vectors: Array) -> Space:
    unit = unit_rows(vectors)
    unknown = np.flatnonzero(~unit.any(axis=1))
    return Space(unit, unknown, Inline(ItemIndex.build(unit).with_hidden(unknown)))
