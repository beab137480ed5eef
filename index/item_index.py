"""ItemIndex: the best items for a vector, without the excluded ones, the same answer every time.

FAISS proposes candidates and this file decides: candidates are scored again from the vectors, ties go to the lower
row, and the search is widened until nothing that was left out could belong to the answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.engine import Engine, build_engine, read_engine, stored_vectors, write_engine
from index.errors import InputError
from index.ranking import (
    NO_ROWS,
    Array,
    Exclude,
    best_of,
    checked_exclude,
    checked_k,
    checked_queries,
    checked_rows,
    empty_answer,
    exact_search,
    largest_norm,
    rounding_error,
)

__all__ = ["ItemIndex", "exact_search", "measured_recall"]

# Fetching so many more and dropping them is quicker up to about a hundred excluded rows, a bitmap beyond: measured in
# docs/measurements/search.md (20,000 items of 64: 30 rows 0.11 against 0.21 ms, 10,000 rows 1.95 against 0.13 ms).
MOST_OVERFETCHED = 128
# Fetched beyond the need, so that near ties at the cut rarely cost a second search.
SPARE = 16
# Up to so many rows to search within are scored one by one, which no approximate index can do better; and up to a
# share of one in so many where the index is exact anyway.
MOST_SCORED = 65_536
SCORED_SHARE = 8
_WIDEN = 4
_AT_ONCE = 65_536  # candidates whose vectors are held at once, of all queries together
RECALL_AT = (20, 100)


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """Search over item vectors (n, d) by inner product. Safe from several threads at once on the CPU.

    `hidden` rows never come back; `hiding` gives an index over the same memory with others hidden.
    `overflow` answers what this engine cannot: a list longer than a GPU search gives.
    """

    engine: Engine
    vectors: Array  # (n, d) float32
    norm: float  # the largest row norm of vectors
    hidden: Array  # (n_hidden,) rows
    overflow: "ItemIndex | None" = None

    @classmethod
    def build(
        cls, vectors: Array, factory: str = "Flat", *, nprobe: int | None = None, ef_search: int | None = None
    ) -> "ItemIndex":
        """Build by FAISS factory string; nprobe and ef_search default to an eighth of the lists and to 64."""
        vectors = _checked_vectors(vectors)
        return cls._over(build_engine(vectors, factory, nprobe, ef_search), vectors)

    @classmethod
    def read(cls, path: Path, vectors: Array | None = None, *, mapped: bool = True) -> "ItemIndex":
        """Open what `write` wrote, memory-mapped where FAISS can unless `mapped` is False.

        `vectors` (n, d) score the answer; without them, those that FAISS stored do.
        """
        engine = read_engine(path, mapped=mapped)
        vectors = stored_vectors(engine) if vectors is None else vectors
        found = (engine.index.ntotal, engine.index.d)
        if found != vectors.shape:
            raise InputError(f"{path} holds {found[0]} vectors of {found[1]}; expected {vectors.shape}")
        return cls._over(engine, vectors)

    @classmethod
    def _over(cls, engine: Engine, vectors: Array) -> "ItemIndex":
        return cls(engine, vectors, largest_norm(vectors), NO_ROWS)

    def write(self, path: Path) -> None:
        """Write the index into a new file; what is hidden is not written. OSError where the disk does not take it."""
        write_engine(self.engine, path)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def settings(self) -> dict[str, int]:
        """What a search probes: nprobe or ef_search; nothing for an exact index."""
        return self.engine.settings if self.overflow is None else self.overflow.settings

    def hiding(self, rows: Array) -> "ItemIndex":
        """The same index with exactly these rows hidden from every search; shares all memory."""
        hidden = np.unique(checked_rows(rows, len(self)))
        overflow = None if self.overflow is None else replace(self.overflow, hidden=hidden)
        return replace(self, hidden=hidden, overflow=overflow)

    def search(
        self, queries: Array, k: int, exclude: Exclude = None, within: Array | None = None
    ) -> tuple[Array, Array]:
        """The k best rows for each query and their scores, best first, ties by lower row.

        queries: (d,) or (m, d). exclude: rows to leave out, one array for all queries or a list of one for each.
        within: ascending rows, no others come back; exact up to MOST_SCORED of them whatever the index, beyond that
        as good as the index is.
        Returns rows (m, k) int64 and scores (m, k) float32, filled up with -1 and -inf where fewer than k remain.
        One query and many agree to the bit. InputError on a wrong shape, a k below 1, or a row out of range.
        """
        queries = checked_queries(queries, self.vectors.shape[1])  # (m, d)
        excluded = checked_exclude(exclude, len(queries), len(self))
        rows, scores = empty_answer(len(queries), checked_k(k, len(self)))
        if within is not None and self._scored(len(checked_rows(within, len(self)))):
            self._score(queries, excluded, within, rows, scores)
            return rows, scores
        if within is not None and self.overflow is not None:  # a GPU search takes no selection of rows
            return self.overflow.search(queries, k, excluded, within)
        base = None if within is None else self._mask(within)
        asked = _Asked(queries, excluded, rounding_error(queries, self.norm), base, rows, scores)
        for plan, places in self._plans(asked):
            self._answer(asked, places, plan)
        return rows, scores

    def _scored(self, n: int) -> bool:
        """Whether n rows to search within are better scored one by one than searched for."""
        if not self.engine.takes_selector and self.overflow is None:
            return True
        return n <= (len(self) // SCORED_SHARE if self.engine.exhaustive else MOST_SCORED)

    def _score(self, queries: Array, excluded: list[Array], within: Array, rows: Array, scores: Array) -> None:
        """Fill the answer (m, k) from the rows within (r,), each of them scored."""
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

    def _plans(self, asked: "_Asked") -> Iterator[tuple["_Plan", list[int]]]:
        """The places of queries that are searched alike; a query's plan depends on nothing but itself."""
        groups: dict[_Plan, list[int]] = {}
        for place in range(len(asked.queries)):
            groups.setdefault(self._plan(asked, place), []).append(place)
        for plan, places in groups.items():
            at_once = 1 if plan.select else max(1, _AT_ONCE // plan.fetch)  # a selector holds for one query
            yield from ((plan, places[i : i + at_once]) for i in range(0, len(places), at_once))

    def _plan(self, asked: "_Asked", place: int) -> "_Plan":
        n_excluded = len(asked.excluded[place]) + len(self.hidden)
        select = asked.within is not None or (self.engine.takes_selector and n_excluded > MOST_OVERFETCHED)
        need = asked.rows.shape[1] + SPARE + (0 if select else n_excluded)
        # Rounded up to a power of two, so that queries with unlike histories still share a search.
        return _Plan(min(len(self), 1 << (need - 1).bit_length()), select)

    def _answer(self, asked: "_Asked", places: list[int], plan: "_Plan") -> None:
        """Search, keep what is allowed, and search wider where the cut may have touched the answer."""
        if self.overflow is not None and plan.fetch > self.engine.max_fetch:
            self.overflow._answer(asked, places, plan)
            return
        whole = len(places) == len(asked.queries)
        here = slice(None) if whole else places  # the usual case costs no copies
        queries = asked.queries[here]  # (p, d)
        excluded = asked.excluded if whole else [asked.excluded[place] for place in places]
        selected = self._allowed(excluded[0], asked.within) if plan.select else None
        found, found_scores = self.engine.search(queries, plan.fetch, selected)  # (p, fetch)
        allowed = found >= 0 if selected is not None else self._allowed_among(found, excluded)
        rows, scores = best_of(found, allowed, self.vectors, queries, asked.rows.shape[1])
        asked.rows[here], asked.scores[here] = rows, scores
        dry = found[:, -1] < 0 if plan.fetch < len(self) else np.ones(len(places), np.bool_)
        settled = self._settled(rows[:, -1], scores[:, -1], found_scores[:, -1] + asked.error[here])
        for place, is_dry, is_settled in zip(places, dry.tolist(), settled.tolist(), strict=True):
            if is_dry:
                self._complete(asked, place)
            elif not is_settled:
                self._answer(asked, [place], _Plan(min(len(self), plan.fetch * _WIDEN), plan.select))

    def _settled(self, last: Array, scores: Array, bounds: Array) -> Array:
        """Whether no row that was left out can belong to an answer, by the last row of each (p,) and its score.

        What an exact search left out scores no more than the bound.
        """
        whole: Array = last >= 0
        return whole & (scores > bounds) if self.engine.exact else whole

    def _complete(self, asked: "_Asked", place: int) -> None:
        """An approximate index whose probes ran dry before k rows were found: search exactly instead."""
        rows, scores = asked.rows[place], asked.scores[place]
        allowed = self._allowed(asked.excluded[place], asked.within)
        if int(np.count_nonzero(rows >= 0)) < min(len(rows), int(np.count_nonzero(allowed))):
            found = exact_search(self.vectors, asked.queries[place], len(rows), np.flatnonzero(~allowed))
            rows[:], scores[:] = found[0][0], found[1][0]

    def _allowed_among(self, found: Array, excluded: list[Array]) -> Array:
        """Which of the rows that were found for each query (p, fetch) may be its answer."""
        shown = self._allowed(NO_ROWS)
        allowed: Array = found >= 0
        for i, left_out in enumerate(excluded):
            out = left_out[shown[left_out]]
            shown[out] = False
            allowed[i] &= shown[found[i]]
            shown[out] = True
        return allowed

    def _allowed(self, excluded: Array, within: Array | None = None) -> Array:
        allowed = np.ones(len(self), np.bool_) if within is None else within.copy()
        allowed[self.hidden] = False
        allowed[excluded] = False
        return allowed


class _Plan(NamedTuple):
    """How far to search, and whether a selector is handed to the search or excluded rows are dropped after it."""

    fetch: int
    select: bool


class _Asked(NamedTuple):
    """The m queries of a search, with their places in the answer."""

    queries: Array  # (m, d)
    excluded: list[Array]  # m times (e,) rows
    error: Array  # (m,)
    within: Array | None  # (n,) mask of the only rows that may come back
    rows: Array  # (m, k), written to
    scores: Array  # (m, k), written to


def measured_recall(
    index: ItemIndex, vectors: Array, queries: Array, *, at: tuple[int, ...] = RECALL_AT, sample: int = 512
) -> dict[str, float]:
    """recall@k of the index against exact search, by k, over at most `sample` of the queries, evenly spaced.

    A hit is a row that scores no less than the k-th exact one, so that a tie is never counted as a miss.
    """
    picked = queries[np.linspace(0, len(queries) - 1, min(sample, len(queries))).astype(np.int64)]
    lengths = {k: min(k, len(vectors)) for k in at}
    _, exact = exact_search(vectors, picked, max(lengths.values()))
    found = {k: index.search(picked, length)[1] for k, length in lengths.items()}
    return {f"recall@{k}": float(np.mean(found[k] >= exact[:, length - 1, None])) for k, length in lengths.items()}


def _checked_vectors(vectors: Array) -> Array:
    if vectors.ndim != 2 or not vectors.size or vectors.dtype != np.float32:
        raise InputError(f"vectors are {vectors.dtype} {vectors.shape}; expected float32 (n, d), none of them 0")
    if not np.isfinite(vectors).all():
        raise InputError("vectors hold a value that is not finite; expected finite numbers")
    return np.ascontiguousarray(vectors)
