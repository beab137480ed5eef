"""Lists of rows with their scores, and one profile of a call with what it may be shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.ranking.constraints import Constraints
from service.ranking.diversity import with_pins
from service.ranking.profile import NO_ROWS, Profile
from service.ranking.recommender import Ranking, left_out
from service.ranking.scoring import Scoring

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows with their scores, best first, and which share of each score is the rules'."""

    rows: Array  # (n,)
    scores: Array  # (n,) float32, shares included
    shares: Array  # (n,) float32

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: Any) -> "Candidates":
        places = np.array(places, np.int64) if isinstance(places, list) else places
        return Candidates(self.rows[places], self.scores[places], self.shares[places])

    def followed_by(self, others: "Candidates") -> "Candidates":
        """These, then the others."""
        return Candidates(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.scores, others.scores]),
            np.concatenate([self.shares, others.shares]),
        )


class RankingContext:
    """Whom one list is for, under the terms of its call."""

    def __init__(
        self, profile: Profile | None, constraints: Constraints, scoring: Scoring, *, hidden: Array, exclude_seen: bool
    ) -> None:
        self.vector = profile.vector if profile is not None and profile.known else None
        self._source = "popular" if self.vector is None or profile is None else profile.source
        self.constraints = constraints
        self._scoring = scoring
        never = NO_ROWS if profile is None else profile.excluded
        refused = np.concatenate([constraints.excluded, never, hidden])
        self._pins = [pin for pin in constraints.pins if _may_stand(pin[1], refused, constraints.within)]
        pinned = np.array([row for _, row in self._pins], np.int64)
        seen = left_out(profile, exclude_seen=exclude_seen)
        self.without = np.concatenate([seen, refused, pinned])  # rows that do not come for their score

    def leave_out(self, rows: Array) -> None:
        """Let these rows no longer come for their score."""
        self.without = np.concatenate([self.without, rows])

    def shown(self) -> Array:
        """A mask (n_items,) of what may come for its score."""
        mask = self.constraints.admits(len(self._scoring))
        mask[self.without] = False
        return mask

    def best(self, rows: Array, scores: Array, n: int) -> Candidates:
        """The n best of what was found (r,) among items that no rule raises, and of those that one does."""
        plain = Candidates(rows, scores.astype(np.float32), np.zeros(len(rows), np.float32))
        boosted, _ = self.constraints.boosted
        if not len(boosted):
            return plain
        both = plain.followed_by(self._scored(boosted[self.shown()[boosted]]))
        return both[np.lexsort((both.rows, -both.scores))[:n]]

    def _scored(self, rows: Array) -> Candidates:
        shares = self._scoring.shares(self.constraints, self.vector)[rows]
        return Candidates(rows, self._scoring.of(self.vector, rows) + shares, shares)

    def ranking(self, chosen: Candidates, offset: int, depth: int) -> Ranking:
        """Places offset + 1 to depth of the list that has the pins in it."""
        if self._pins:
            both = chosen.followed_by(self._scored(np.array([row for _, row in self._pins], np.int64)))
            pins = [(position, len(chosen) + i) for i, (position, _) in enumerate(self._pins)]
            chosen = both[with_pins(range(len(chosen)), pins, depth)]
        page = chosen[offset:depth]
        pinned = frozenset(row for _, row in self._pins)
        return Ranking(page.rows, page.scores, self._source, page.shares if self.constraints.boosts else None, pinned)


def _may_stand(row: int, refused: Array, within: Array | None) -> bool:
    if within is not None:
        place = int(np.searchsorted(within, row))
        if place == len(within) or within[place] != row:
            return False
    return row not in refused
