"""Which items are near which: by the learned embeddings, by one modality, by the ID part; cosine throughout."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.item_index import ItemIndex
from index.ranking import unit_rows
from service.errors import InvalidRequestError
from service.explain import count_in_common
from service.profile import NO_ROWS
from service.search import Inline, Search

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Space:
    """Unit vectors of all items (a zero row: nothing known) and the search over those that are known."""

    vectors: Array  # (n_items, width) float32
    unknown: Array  # rows
    search: Search


class Neighbours:
    """Nearest items in every space that the bundle has; spaces are built once, at start."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._spaces = {name: _space(vectors) for name, vectors in _vectors(bundle).items()}

    @property
    def spaces(self) -> tuple[str, ...]:
        """What `by` may be."""
        return tuple(self._spaces)

    def vectors(self, by: str) -> Array:
        """The unit vectors (n_items, width) of a space. InvalidRequestError where the bundle lacks it."""
        return self._space(by).vectors

    async def nearest(
        self, row: int, k: int, by: str, *, without: Array = NO_ROWS, within: Array | None = None
    ) -> tuple[Array, Array] | None:
        """Rows and cosines of the k nearest other items that the space knows; None where it does not know this one.

        `without` rows are left out, and others than the ascending rows `within`, if given. InvalidRequestError where
        the bundle lacks the space.
        """
        space = self._space(by)
        vector = space.vectors[row]
        if not vector.any():
            return None
        (found,) = await space.search.many([vector], k, [np.append(without, row)], within)
        return found

    def hide(self, rows: Array) -> None:
        """Let exactly these rows never come back, in any space."""
        for space in self._spaces.values():
            space.search.hide(np.union1d(rows, space.unknown))

    def _space(self, by: str) -> Space:
        space = self._spaces.get(by)
        if space is None:
            raise InvalidRequestError(f"by: this bundle has {', '.join(self._spaces)}, found {by!r}")
        return space

    def cosines(self, row: int, rows: Array) -> Mapping[str, Array]:
        """The cosine of the item with each of the rows (k,), in every space."""
        return {name: space.vectors[rows] @ space.vectors[row] for name, space in self._spaces.items()}

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
    return Space(unit, unknown, Inline(ItemIndex.build(unit).hiding(unknown)))
