"""Candidate items with their scores, and the context in which one profile of a request is ranked."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from index.recommending.profile import NO_ROWS, Profile, excluded_rows
from service.ranking.constraints import Constraints
from service.ranking.diversity import insert_pins
from service.ranking.recommender import Ranking
from service.ranking.scoring import Scoring

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows with their scores, best first, and the share of each score that boosts add."""

    rows: Array  # (n,)
    scores: Array  # (n,) float32, shares included
    shares: Array  # (n,) float32

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: Any) -> "Candidates":
        places = np.array(places, np.int64) if isinstance(places, list) else places
        return Candidates(self.rows[places], self.scores[places], self.shares[places])

    def followed_by(self, others: "Candidates") -> "Candidates":
        return Candidates(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.scores, others.scores]),
            np.concatenate([self.shares, others.shares]),
        )


class RankingContext:
    """One profile to rank items for, under the constraints of its request."""

    def __init__(
        self, profile: Profile | None, constraints: Constraints, scoring: Scoring, *, hidden: Array, exclude_seen: bool
    ) -> None:
        self.vector = profile.vector if profile is not None and profile.known else None
        self._source = "popular" if self.vector is None or profile is None else profile.source
        self.constraints = constraints
        self._scoring = scoring
        never_shown = NO_ROWS if profile is None else profile.excluded
        forbidden = np.concatenate([constraints.excluded, never_shown, hidden])
        self._pins = _allowed_pins(constraints, forbidden)
        pinned = np.array([row for _, row in self._pins], np.int64)
        seen = excluded_rows(profile, exclude_seen=exclude_seen)
        self.excluded = np.concatenate([seen, forbidden, pinned])  # rows that are not ranked by score

    def exclude(self, rows: Array) -> None:
        self.excluded = np.concatenate([self.excluded, rows])

    def candidate_mask(self) -> Array:
        """A mask (n_items,) of the rows that are ranked by score."""
        mask = self.constraints.allowed_mask(len(self._scoring))
        mask[self.excluded] = False
        return mask

    def score_allowed(self, rows: Array) -> Candidates:
        """Those of the rows that are ranked by score, best first; equal scores in the order of the rows."""
        scored = self._score(rows[self.candidate_mask()[rows]])
        return scored[np.argsort(-scored.scores, kind="stable")]

    def merge_boosted(self, rows: Array, scores: Array, n: int) -> Candidates:
        """The n best of the unboosted rows (r,) that a search found and of all boosted rows."""
        unboosted = Candidates(rows, scores.astype(np.float32), np.zeros(len(rows), np.float32))
        boosted, _ = self.constraints.boosted
        if not len(boosted):
            return unboosted
        merged = unboosted.followed_by(self._score(boosted[self.candidate_mask()[boosted]]))
        return merged[np.lexsort((merged.rows, -merged.scores))[:n]]

    def _score(self, rows: Array) -> Candidates:
        shares = self._scoring.boost_shares(self.constraints, self.vector)[rows]
        return Candidates(rows, self._scoring.score(self.vector, rows) + shares, shares)

    def to_ranking(
        self, chosen: Candidates, offset: int, depth: int, explored: frozenset[int] = frozenset()
    ) -> Ranking:
        """Insert the pins into the chosen candidates and return places offset + 1 to depth."""
        if self._pins:
            merged = chosen.followed_by(self._score(np.array([row for _, row in self._pins], np.int64)))
            pins = [(position, len(chosen) + i) for i, (position, _) in enumerate(self._pins)]
            chosen = merged[insert_pins(range(len(chosen)), pins, depth)]
        page = chosen[offset:depth]
        pinned = frozenset(row for _, row in self._pins)
        shares = page.shares if self.constraints.boosts else None
        return Ranking(page.rows, page.scores, self._source, shares, pinned, explored & frozenset(page.rows.tolist()))


def _allowed_pins(constraints: Constraints, forbidden: Array) -> list[tuple[int, int]]:
    """The positions and rows of the pins that may be shown."""
    if not constraints.pins:
        return []
    rows = np.array([row for _, row in constraints.pins], np.int64)
    allowed = ~np.isin(rows, forbidden)
    if constraints.within is not None:
        allowed &= _among(rows, constraints.within)
    return [pin for pin, may_show in zip(constraints.pins, allowed.tolist(), strict=True) if may_show]


def _among(rows: Array, ascending: Array) -> Array:
    """Mask of the rows that are in an ascending array: np.isin would sort that for each profile."""
    if not len(ascending):
        return np.zeros(len(rows), np.bool_)
    mask: Array = ascending.take(np.searchsorted(ascending, rows), mode="clip") == rows
    return mask
