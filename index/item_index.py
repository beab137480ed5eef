"""ItemIndex: the items with the largest inner product with a query, without excluded ones, deterministically.

FAISS proposes candidates. They are scored again from the vectors, ties go to the lower row, and the search is widened
until no row outside the candidates could belong to the result.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.block_scan import has_groups, scan_blocks, scans_blocks
from index.building import Progress
from index.engine import Engine, build_engine, read_engine, stored_vectors, write_engine
from index.errors import InputError
from index.flat import FLAT, flat_engine
from index.layout import first_non_finite_row
from index.ranking import (
    NO_ROWS,
    Array,
    Exclude,
    best_of,
    checked_exclude,
    checked_k,
    checked_queries,
    checked_rows,
    empty_result,
    exact_search,
    largest_norm,
    rounding_error,
)
from index.search_plan import SCORE, SCORED_SHARE, Plan, fetches_more, is_scored, plan_search

__all__ = ["ItemIndex", "exact_search"]

_WIDEN = 4
_CANDIDATES_PER_BATCH = 65_536  # whose vectors are in memory together, over all queries


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """Search over item vectors (n, d) by inner product. Safe from several threads at once on the CPU.

    `hidden` rows are never returned; `with_hidden` makes an index over the same memory with other rows hidden.
    `overflow` is the CPU index that runs the searches that a GPU engine cannot, such as those for long lists.
    """

    engine: Engine
    vectors: Array  # (n, d) float32
    norm: float  # the largest row norm of vectors
    hidden: Array  # (n_hidden,) rows
    overflow: "ItemIndex | None" = None

    @classmethod
    def build(
        cls,
        vectors: Array,
        factory: str = FLAT,
        *,
        nprobe: int | None = None,
        ef_search: int | None = None,
        rerank: int | None = None,
        progress: Progress | None = None,
    ) -> "ItemIndex":
        """Build by factory string (index/building.py) of vectors (n, d) float32, which may be memory-mapped.

        Settings have defaults, and those that the index lacks are ignored. `progress` is called with the number of
        vectors added so far. InputError where the factory does not fit the vectors.
        """
        given = {"nprobe": nprobe, "ef_search": ef_search, "rerank": rerank}
        settings = {name: value for name, value in given.items() if value is not None}
        vectors = _checked_vectors(vectors)
        if factory == FLAT:
            return cls.flat(vectors)
        return cls._over(build_engine(vectors, factory, settings, progress), vectors)

    @classmethod
    def read(
        cls,
        path: Path,
        vectors: Array | None = None,
        *,
        mapped: bool = True,
        settings: Mapping[str, int] | None = None,
        norm: float | None = None,
    ) -> "ItemIndex":
        """Open an index file, memory-mapped where FAISS can unless `mapped` is False.

        Results are scored by `vectors` (n, d), or by the vectors that FAISS stored where none are given. `settings` are
        those of the index that was written; without, nprobe and ef_search come from the file, and rerank is 1.
        norm: the largest norm of `vectors`, where it is known.
        """
        engine = read_engine(path, mapped=mapped).with_settings(settings or {})
        vectors = stored_vectors(engine) if vectors is None else vectors
        found = (engine.index.ntotal, engine.index.d)
        if found != vectors.shape:
            raise InputError(f"{path} holds {found[0]} vectors of {found[1]}; expected {vectors.shape}")
        return cls._over(engine, vectors, norm)

    @classmethod
    def flat(cls, vectors: Array, norm: float | None = None) -> "ItemIndex":
        """An exact index over finite vectors (n, d) float32 in C order, which it does not copy; norm as for `read`."""
        return cls._over(flat_engine(vectors), vectors, norm)

    @classmethod
    def _over(cls, engine: Engine, vectors: Array, norm: float | None = None) -> "ItemIndex":
        return cls(engine, vectors, largest_norm(vectors) if norm is None else norm, NO_ROWS)

    def write(self, path: Path) -> None:
        """Write the index into a new file, without the hidden rows' list. OSError where writing fails."""
        write_engine(self.engine, path)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def settings(self) -> dict[str, int]:
        """The search settings: nprobe or ef_search, and rerank where it is above 1; none for an exact index."""
        return self.engine.settings if self.overflow is None else self.overflow.settings

    def with_settings(self, settings: Mapping[str, int]) -> "ItemIndex":
        """This index on the CPU with these search settings; shares all memory, and no search may run meanwhile.

        The FAISS index is changed, so that only the index returned last has the settings it says. InputError on an
        unknown name or a value below 1.
        """
        return replace(self, engine=self.engine.with_settings(settings))

    def with_hidden(self, rows: Array) -> "ItemIndex":
        """The same index with exactly these rows hidden; shares all memory."""
        hidden = np.unique(checked_rows(rows, len(self)))
        overflow = None if self.overflow is None else replace(self.overflow, hidden=hidden)
        return replace(self, hidden=hidden, overflow=overflow)

    def search(
        self, queries: Array, k: int, exclude: Exclude = None, within: Array | None = None
    ) -> tuple[Array, Array]:
        """The k best rows for each query and their scores, best first, ties by lower row.

        queries: (d,) or (m, d). exclude: rows to leave out, one array for all queries or a list of one for each.
        within: ascending rows, the only ones that may be returned; exact for up to SCORED_ROOT times the root of n
        (index/search_plan.py), beyond that as exact as the index.
        Returns rows (m, k) int64 and scores (m, k) float32, padded with -1 and -inf where fewer than k remain.
        One query and many agree to the bit. InputError on a wrong shape, a k below 1, or a row out of range.
        """
        queries = checked_queries(queries, self.vectors.shape[1])  # (m, d)
        excluded = checked_exclude(exclude, len(queries), len(self))
        error, k = rounding_error(queries, self.norm), checked_k(k, len(self))
        scored = within is not None and self._scored(len(checked_rows(within, len(self))))
        if self._scans_blocks(k, within, scored=scored):
            others = NO_ROWS if within is None else np.flatnonzero(~self._mask(within))
            hidden = np.concatenate([self.hidden, others]) if len(others) else self.hidden
            return scan_blocks(self.vectors, queries, k, excluded=excluded, hidden=hidden, error=error)
        rows, scores = empty_result(len(queries), k)
        if within is not None and scored:
            self._score(queries, excluded, within, rows, scores)
            return rows, scores
        if within is not None and self.overflow is not None and not self.engine.takes_selector:  # a GPU engine
            return self.overflow.search(queries, k, excluded, within)
        base = None if within is None else self._mask(within)
        batch = _Batch(queries, excluded, error, base, rows, scores)
        for plan, places in self._plans(batch, None if within is None else len(within)):
            self._search(batch, places, plan)
        return rows, scores

    def _scans_blocks(self, k: int, within: Array | None, *, scored: bool) -> bool:
        """Whether all rows are scored by matrix products, and those outside `within` left out afterwards.

        Each of many rows costs more where it is copied first.
        """
        if within is None or not scored:
            return scans_blocks(self.engine, len(self), k)
        return len(within) * SCORED_SHARE > len(self) and has_groups(len(self), k)

    def _scored(self, n: int) -> bool:
        """Whether a search within n rows is better done by scoring each of them."""
        if not self.engine.takes_selector and self.overflow is None and not fetches_more(len(self), n):
            return True
        return is_scored(self.engine, len(self), n)

    def _score(self, queries: Array, excluded: list[Array], within: Array, rows: Array, scores: Array) -> None:
        """Fill the result (m, k) by scoring every row of `within` (r,)."""
        k = min(rows.shape[1], len(within))
        if k == 0:
            return
        left_out = [np.flatnonzero(~self._allowed(of_one)[within]) for of_one in excluded]
        found, scores[:, :k] = exact_search(self.vectors[within], queries, k, left_out)
        rows[:, :k] = np.where(found >= 0, within[found], -1)

    def _mask(self, rows: Array) -> Array:
        mask = np.zeros(len(self), np.bool_)
        mask[rows] = True
        return mask

    def _plans(self, batch: "_Batch", n_within: int | None) -> Iterator[tuple[Plan, list[int]]]:
        """Group the positions of queries that one call can search; a query's plan depends on that query alone."""
        groups: dict[Plan, list[int]] = {}
        for place, excluded in enumerate(batch.excluded):
            n_excluded = len(excluded) + len(self.hidden)
            plan = plan_search(self.engine, len(self), batch.rows.shape[1], n_excluded, n_within)
            groups.setdefault(plan, []).append(place)
        for plan, places in groups.items():
            one = plan.select or plan == SCORE  # a selector applies to one query
            at_once = 1 if one else max(1, _CANDIDATES_PER_BATCH // plan.fetch)
            yield from ((plan, places[i : i + at_once]) for i in range(0, len(places), at_once))

    def _search(self, batch: "_Batch", places: list[int], plan: Plan) -> None:
        """Search, drop rows that are not allowed, and search wider where the cut may have changed the result."""
        if plan == SCORE:
            self._score_allowed(batch, places[0])
            return
        if self.overflow is not None and plan.fetch > self.engine.max_fetch:
            self.overflow._search(batch, places, plan)
            return
        whole = len(places) == len(batch.queries)
        here = slice(None) if whole else places  # the usual case costs no copies
        queries = batch.queries[here]  # (p, d)
        excluded = batch.excluded if whole else [batch.excluded[place] for place in places]
        selected = self._allowed(excluded[0], batch.within) if plan.select else None
        found, found_scores = self.engine.search(queries, plan.fetch, selected, plan.effort)  # (p, fetch)
        allowed = found >= 0 if selected is not None else self._allowed_among(found, excluded, batch.within)
        rows, scores = best_of(found, allowed, self.vectors, queries, batch.rows.shape[1])
        batch.rows[here], batch.scores[here] = rows, scores
        exhausted = found[:, -1] < 0 if plan.fetch < len(self) else np.ones(len(places), np.bool_)
        final = self._is_final(rows[:, -1], scores[:, -1], found_scores[:, -1] + batch.error[here])
        if not self.engine.exact:
            final &= np.count_nonzero(allowed, axis=1) >= self.engine.rerank * batch.rows.shape[1]
        for place, is_exhausted, is_final in zip(places, exhausted.tolist(), final.tolist(), strict=True):
            if is_exhausted:
                self._complete(batch, place)
            elif not is_final:
                select = (plan.select or batch.within is not None) and self.engine.takes_selector
                self._search(batch, [place], Plan(min(len(self), plan.fetch * _WIDEN), select, plan.effort))

    def _is_final(self, last: Array, scores: Array, bounds: Array) -> Array:
        """Whether each result is final, given its last row (p,) and that row's score.

        Rows that an exact search did not return score no more than `bounds`.
        """
        whole: Array = last >= 0
        return whole & (scores > bounds) if self.engine.exact else whole

    def _complete(self, batch: "_Batch", place: int) -> None:
        """Search exactly where an approximate index found fewer than k rows in the lists that it probed."""
        rows, scores = batch.rows[place], batch.scores[place]
        allowed = self._allowed(batch.excluded[place], batch.within)
        if int(np.count_nonzero(rows >= 0)) < min(len(rows), int(np.count_nonzero(allowed))):
            found = exact_search(self.vectors, batch.queries[place], len(rows), np.flatnonzero(~allowed))
            rows[:], scores[:] = found[0][0], found[1][0]

    def _score_allowed(self, batch: "_Batch", place: int) -> None:
        """Score every row that a query may return."""
        within = np.flatnonzero(self._allowed(batch.excluded[place]))
        result = batch.rows[place, None], batch.scores[place, None]
        self._score(batch.queries[place, None], [NO_ROWS], within, *result)

    def _allowed_among(self, found: Array, excluded: list[Array], within: Array | None) -> Array:
        """Mask (p, fetch) of the found rows that each query may return; costs nothing that grows with the index."""
        allowed: Array = found >= 0
        if within is not None:
            allowed &= within[found]
        if len(self.hidden):
            allowed &= ~_is_among(found, self.hidden)
        for i, left_out in enumerate(excluded):
            if len(left_out):
                allowed[i] &= ~_is_among(found[i], np.sort(left_out))
        return allowed

    def _allowed(self, excluded: Array, within: Array | None = None) -> Array:
        allowed = np.ones(len(self), np.bool_) if within is None else within.copy()
        allowed[self.hidden] = False
        allowed[excluded] = False
        return allowed


class _Batch(NamedTuple):
    """The m queries of one search and their results."""

    queries: Array  # (m, d)
    excluded: list[Array]  # m times (e,) rows
    error: Array  # (m,)
    within: Array | None  # (n,) mask of the only rows that may be returned
    rows: Array  # (m, k), written to
    scores: Array  # (m, k), written to


def _is_among(rows: Array, ascending: Array) -> Array:
    """Mask of the rows that are in an ascending array, which is not empty."""
    places = np.searchsorted(ascending, rows)
    mask: Array = ascending.take(places, mode="clip") == rows
    return mask


def _checked_vectors(vectors: Array) -> Array:
    if vectors.ndim != 2 or not vectors.size or vectors.dtype != np.float32:
        raise InputError(f"vectors are {vectors.dtype} {vectors.shape}; expected float32 (n, d), none of them 0")
    if first_non_finite_row(vectors) is not None:
        raise InputError("vectors hold a value that is not finite; expected finite numbers")
    return np.ascontiguousarray(vectors)
