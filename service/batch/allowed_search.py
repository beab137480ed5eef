"""Exact search among the items that a whole run may show."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from index.item_index import ItemIndex
from service.ranking.search import InlineSearch, SearchResult

Array = np.ndarray[Any, Any]


class AllowedSearch(InlineSearch):
    """Searches among the ascending rows `allowed` (r,) of vectors (n, d), by products of large matrices.

    Its results are those of a search of the whole within these rows, which would select them again for each query.
    """

    def __init__(self, vectors: Array, allowed: Array) -> None:
        super().__init__(ItemIndex.flat(np.ascontiguousarray(vectors[allowed])))
        self._allowed = allowed
        self._places = np.full(len(vectors), -1)  # (n,) of each row among the allowed ones
        self._places[allowed] = np.arange(len(allowed))

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[SearchResult]:
        """As ItemSearch.many with `within` the allowed rows, whatever was given."""
        places = [self._places[rows] for rows in exclude]
        found = await super().many(vectors, k, [one[one >= 0] for one in places])
        return [(self._allowed[rows], scores) for rows, scores in found]
