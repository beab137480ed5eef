"""The nearest items among those of a bundle and its living ones."""

from typing import Any

import numpy as np

from index.recommending.profile import NO_ROWS
from service.catalogue.living_items import LivingItems
from service.catalogue.living_search import LivingSearch
from service.ranking.similar import SimilarItems, VectorSpace

Array = np.ndarray[Any, Any]


class LivingSimilarItems(SimilarItems):
    """The spaces of a bundle, which are built once for all states of its living items, with those items beside them."""

    def __init__(self, trained: SimilarItems, living: LivingItems) -> None:
        super().__init__(living.bundle)
        self._trained, self._living = trained, living
        self._spaces: dict[str, VectorSpace] = {}

    @property
    def copied_spaces(self) -> tuple[str, ...]:
        """As of the bundle itself."""
        return self._trained.copied_spaces

    async def build(self) -> None:
        """Build every small space of the bundle itself."""
        await self._trained.build()

    async def space(self, by: str) -> VectorSpace:
        """The space with the living items. InvalidRequestError where the bundle lacks it."""
        found = self._spaces.get(by)
        if found is not None:
            return found
        trained = await self._trained.space(by)
        search = LivingSearch(trained.search, self._living.n_trained, self._living.delta_of(by))
        found = self._spaces.setdefault(by, VectorSpace(trained.unknown, search))
        found.hide(self._hidden)
        return found

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows in every space."""
        self._hidden = rows if len(rows) else NO_ROWS
        for space in self._spaces.values():
            space.hide(rows)
