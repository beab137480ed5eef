"""A user becomes ranked and explained items. No HTTP, no Redis."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from index.bundle import Bundle
from service.ranking.attribution import attribute, ranks_without
from service.ranking.constraints import NO_CONSTRAINTS, Constraints
from service.ranking.explanation_text import Past, render_explanations, rounded, rules_clause
from service.ranking.item_metadata import ItemMetadata
from service.ranking.profile import NO_ROWS, Profile, Source
from service.ranking.scoring import Scoring
from service.ranking.search import Search

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Ranking:
    """ItemMetadata best first, and what ranked them."""

    rows: Array  # (<= k,)
    scores: Array  # (<= k,), the rules' shares included
    source: Source | Literal["popular"]
    shares: Array | None = None  # (<= k,) what rules add to each score, where any could
    pinned: frozenset[int] = frozenset()  # rows that a rule put where they are


class Recommender:
    """Ranks by inner product for a user who has a vector, by popularity for anyone else."""

    def __init__(self, bundle: Bundle, items: ItemMetadata, search: Search) -> None:
        self._bundle = bundle
        self._items = items
        self._search = search
        trend, count = bundle.popularity_trend, bundle.popularity_count
        self.popularity = trend if trend.any() else count  # (n_items,)
        self.by_popularity = np.argsort(-self.popularity, kind="stable")  # (n_items,) rows
        self.scoring = Scoring(bundle.item_embeddings, self.popularity)

    async def recommend(self, profile: Profile | None, k: int, *, exclude_seen: bool) -> Ranking:
        """The k best items for whoever it is; fewer where fewer are left."""
        without = left_out(profile, exclude_seen=exclude_seen)
        if profile is None or not profile.known:
            return self.popular(k, without)
        rows, scores = await self._search(profile.vector, k, without)
        return Ranking(rows, scores, profile.source)

    def popular(self, k: int, without: Array = NO_ROWS) -> Ranking:
        """The k most popular items without these."""
        hidden = self._search.hidden
        without = np.concatenate([without, hidden]) if len(hidden) else without
        rows = self.by_popularity[: k + len(without)]
        rows = rows[~np.isin(rows, without)][:k] if len(without) else rows
        return Ranking(rows, self.popularity[rows], "popular")

    @property
    def hidden(self) -> Array:
        """The rows that appear in no answer, ascending."""
        return self._search.hidden

    def hide(self, rows: Array) -> None:
        """Let exactly these rows appear in no answer."""
        self._search.hide(rows)

    def counts(self, rows: Array) -> list[int]:
        """How many users had each item."""
        counts: list[int] = self._bundle.popularity_count[rows].tolist()
        return counts

    def explain(
        self,
        profile: Profile,
        ranking: Ranking,
        *,
        most: int,
        exclude_seen: bool,
        counterfactual: bool,
        constraints: Constraints = NO_CONSTRAINTS,
    ) -> Iterator[dict[str, Any]]:
        """For each ranked item: a sentence, shares by part, the past items that add most, the user's own term.

        With counterfactual each named past item carries the item's rank by score, under the same terms, if it were
        taken away, which scores the whole catalogue once for every past item named.
        """
        bundle, rows = self._bundle, ranking.rows
        past_vectors = bundle.fold_in[profile.past]
        parts = {name: part[rows] for name, part in bundle.item_parts.items()}
        found = attribute(profile, past_vectors, items=bundle.item_embeddings[rows], parts=parts, most=most)
        ranks = None
        if counterfactual:
            ranks = self._ranks_without(profile, past_vectors, rows, found.past, constraints, exclude_seen=exclude_seen)
        past = Past(profile.past[found.past], profile.weights[found.past], profile.source)
        pinned = [row in ranking.pinned for row in rows.tolist()] if ranking.pinned else ()
        return render_explanations(found, past, self._items.name, ranks, shares=ranking.shares, pinned=pinned)

    def _ranks_without(
        self,
        profile: Profile,
        past_vectors: Array,
        rows: Array,
        past: Array,
        constraints: Constraints,
        *,
        exclude_seen: bool,
    ) -> Array:
        """The rank of each row under the terms if one past item were taken away, (n, k) for past (n, k) positions."""
        shown = self._shown(profile, constraints)
        hidden = np.flatnonzero(~shown)
        return ranks_without(
            profile,
            past_vectors,
            embeddings=self._bundle.item_embeddings,
            rows=rows,
            past=past,
            hidden=np.concatenate([profile.past, hidden]) if exclude_seen else hidden,
            freed=shown[profile.past],
            shares=self.scoring.shares(constraints, profile.vector) if constraints.boosts else None,
        )

    def _shown(self, profile: Profile, constraints: Constraints) -> Array:
        """A mask (n_items,) of what may be shown to somebody who has seen nothing."""
        shown = constraints.admits(len(self.popularity))
        shown[profile.excluded] = False
        shown[self._search.hidden] = False
        return shown

    def explain_popular(self, ranking: Ranking) -> Iterator[dict[str, Any]]:
        """Why a popular item was shown: only how many had it, and what rules did."""
        shares = [None] * len(ranking.rows) if ranking.shares is None else rounded(ranking.shares)
        for row, count, share in zip(ranking.rows.tolist(), self.counts(ranking.rows), shares, strict=True):
            people = "1 person" if count == 1 else f"{count} people"
            why = f"Popular: {people} had it; nothing is known of your own taste yet."
            why += rules_clause(share or 0.0, pinned=row in ranking.pinned)
            yield {"sentence": why} if share is None else {"sentence": why, "rules": share}


def left_out(profile: Profile | None, *, exclude_seen: bool) -> Array:
    """The rows that this profile is not shown."""
    if profile is None:
        return NO_ROWS
    if not len(profile.excluded):
        return profile.past if exclude_seen else NO_ROWS
    return np.concatenate([profile.past, profile.excluded]) if exclude_seen else profile.excluded
