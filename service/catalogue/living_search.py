"""Searches a bundle's items and the new ones beside them as one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from index.live.delta import Delta
from index.recommending.profile import NO_ROWS
from service.ranking.search import ItemSearch, SearchResult, trim_padding

Array = np.ndarray[Any, Any]


class LivingSearch:
    """An ItemSearch over any other, of the n lowest rows, and over a delta of the rows behind, which is scored exactly.

    The hidden rows of the other search are changed through this one, by the newest of all that share it.
    """

    def __init__(self, main: ItemSearch, n: int, delta: Delta) -> None:
        self._main, self._n = main, n
        self._delta = self._shown = delta
        self.hidden = NO_ROWS

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows, from the next search on."""
        self.hidden = rows
        early, late = rows[rows < self._n], rows[rows >= self._n]
        if not np.array_equal(early, self._main.hidden):  # a new view of a large index costs more
            self._main.hide(early)
        slots = self._delta.rows
        self._shown = replace(self._delta, rows=np.where(np.isin(slots, late), -1, slots)) if len(late) else self._delta

    async def __call__(self, vector: Array, k: int, exclude: Array | None) -> SearchResult:
        """The k best rows for one vector (d,) without the excluded ones."""
        delta, excluded = self._shown, NO_ROWS if exclude is None else exclude
        found = await self._main(vector, min(k, self._n), excluded[excluded < self._n])
        if not len(delta.rows):
            return found
        return _merged(found, self._in_delta(delta, [vector], k, [excluded], None)[0], k)

    async def many(
        self, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None = None
    ) -> list[SearchResult]:
        """The k best rows for each vector, without its excluded ones, among the ascending rows `within` if given."""
        delta, early = self._shown, within
        if within is not None:
            cut = int(np.searchsorted(within, self._n))
            early, within = within[:cut], within[cut:]
        in_main = [excluded[excluded < self._n] for excluded in exclude]
        found = await self._main.many(vectors, min(k, self._n), in_main, early)
        if not len(delta.rows) or not vectors:
            return found
        late = self._in_delta(delta, vectors, k, exclude, within)
        return [_merged(*both, k) for both in zip(found, late, strict=True)]

    def _in_delta(
        self, delta: Delta, vectors: Sequence[Array], k: int, exclude: Sequence[Array], within: Array | None
    ) -> list[SearchResult]:
        late = [excluded[excluded >= self._n] for excluded in exclude]
        queries = np.ascontiguousarray(np.stack(vectors), np.float32)
        rows, scores = delta.search(queries, k, late, within)
        return [trim_padding(*one) for one in zip(rows, scores, strict=True)]


def _merged(early: SearchResult, late: SearchResult, k: int) -> SearchResult:
    """The k best of both, ties by lower row."""
    rows, scores = (np.concatenate(pair) for pair in zip(early, late, strict=True))
    best = np.lexsort((rows, -scores))[:k]
    return rows[best], scores[best]
