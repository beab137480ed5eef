"""Ranks items for one profile without constraints, and explains any ranking."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson

from index.bundle import Bundle
from index.recommending.attribution import ScoreShares, rounded
from index.recommending.explaining import attribute_rows, named_past, ranks_without
from index.recommending.popularity import most_popular, ordered_by, popularity_of
from index.recommending.profile import Profile, Source, excluded_rows
from index.recommending.sentences import EXPLORED_SENTENCE, popular_sentence, rules_sentence
from index.recommending.steps import Steps
from service.ranking.constraints import NO_CONSTRAINTS, Constraints
from service.ranking.explanation_text import render_explanations
from service.ranking.item_metadata import ItemMetadata
from service.ranking.scoring import Scoring
from service.ranking.search import ItemSearch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Ranking:
    """Item rows, best first, and the source of their scores: a kind of profile, or popularity."""

    rows: Array  # (<= k,)
    scores: Array  # (<= k,), boosts included
    source: Source | Literal["popular"]
    shares: Array | None = None  # (<= k,) what boosts add to each score; None without boosts
    pinned: frozenset[int] = frozenset()  # rows that a rule pinned
    explored: frozenset[int] = frozenset()  # rows that are shown to learn about them

    def part(self, places: slice) -> "Ranking":
        """The items at these places."""
        shares = None if self.shares is None else self.shares[places]
        return replace(self, rows=self.rows[places], scores=self.scores[places], shares=shares)


class BundleRecommender:
    """Ranks by inner product for a profile that has a vector, by popularity for any other."""

    def __init__(self, bundle: Bundle, items: ItemMetadata, search: ItemSearch) -> None:
        self._bundle = bundle
        self._items = items
        self._search = search
        self.popularity = popularity_of(bundle)  # (n_items,)
        self.by_popularity = ordered_by(self.popularity)  # (n_items,) rows
        self.scoring = Scoring(bundle.item_embeddings, self.popularity)

    def over(self, bundle: Bundle, items: ItemMetadata, search: ItemSearch) -> "BundleRecommender":
        """The same ranking over a bundle that has these items and newer ones, which no user has had yet."""
        extended = copy.copy(self)
        extended._bundle, extended._items, extended._search = bundle, items, search
        n, n_before = len(bundle.item_ids), len(self.popularity)
        if n > n_before:
            none = np.zeros(n - n_before, self.popularity.dtype)
            extended.popularity = np.concatenate([self.popularity, none])
            extended.by_popularity = np.concatenate([self.by_popularity, np.arange(n_before, n)])
        extended.scoring = self.scoring.over(bundle.item_embeddings, extended.popularity)
        return extended

    async def recommend(self, profile: Profile | None, k: int, *, exclude_seen: bool) -> Ranking:
        """The k best items for the profile; fewer where the bundle has fewer that are not excluded.

        Plain requests are ranked here and not by Ranker.rank with empty constraints, which gives the same list at more
        CPU time: 5 to 10 µs a request, and twice the time of the search where concurrent requests could share one.
        """
        excluded = excluded_rows(profile, exclude_seen=exclude_seen)
        if profile is None or not profile.known:
            return self._most_popular(k, excluded)
        rows, scores = await self._search(profile.vector, k, excluded)
        return Ranking(rows, scores, profile.source)

    def _most_popular(self, k: int, excluded: Array) -> Ranking:
        hidden = self._search.hidden
        excluded = np.concatenate([excluded, hidden]) if len(hidden) else excluded
        rows = most_popular(self.by_popularity, k, excluded)
        return Ranking(rows, self.popularity[rows], "popular")

    @property
    def hidden(self) -> Array:
        """The hidden rows, ascending."""
        return self._search.hidden

    def hide(self, rows: Array) -> None:
        """Hide exactly these rows from every ranking."""
        self._search.hide(rows)

    def user_counts(self, rows: Array) -> list[int]:
        """How many users had each item in training."""
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
    ) -> Steps[list[bytes]]:
        """One JSON explanation for each ranked item: a sentence, shares by part, past items, the user's own term.

        At most `most` past items are named. With counterfactual each of them carries the ranked item's place by score,
        under the same constraints, if it were removed from the past; this scores the catalogue once for each of them.
        """
        bundle, rows = self._bundle, ranking.rows
        past_vectors = bundle.fold_in[profile.past]
        attributed = yield from attribute_rows(bundle, profile, past_vectors, rows, most)
        ranks = None
        if counterfactual and attributed:
            named = np.concatenate([shares.past for _, shares in attributed], axis=1)
            ranks = yield from ranks_without(
                bundle,
                profile,
                past_vectors,
                rows,
                named,
                allowed=self._allowed_mask(profile, constraints),
                exclude_seen=exclude_seen,
                shares=self.scoring.boost_shares(constraints, profile.vector) if constraints.boosts else None,
            )
        explained: list[bytes] = []
        for places, shares in attributed:
            its_ranks = None if ranks is None else ranks[:, places]
            explained += self._render(profile, shares, ranking.part(places), its_ranks)
            yield
        return explained

    def _render(self, profile: Profile, shares: ScoreShares, ranking: Ranking, ranks: Array | None) -> list[bytes]:
        pinned, explored = (
            [row in marked for row in ranking.rows.tolist()] if marked else ()
            for marked in (ranking.pinned, ranking.explored)
        )
        return render_explanations(
            shares,
            named_past(self._bundle, profile, shares),
            self._items.shown,
            ranks,
            shares=ranking.shares,
            pinned=pinned,
            explored=explored,
            user_counts=self.user_counts(ranking.rows),
            new=(ranking.rows >= self._bundle.manifest.n_items).tolist(),
        )

    def _allowed_mask(self, profile: Profile, constraints: Constraints) -> Array:
        """A mask (n_items,) of the rows that this profile may be shown where seen items are not excluded."""
        allowed = constraints.allowed_mask(len(self.popularity))
        allowed[profile.excluded] = False
        allowed[self._search.hidden] = False
        return allowed

    def explain_popular(self, ranking: Ranking) -> Iterator[bytes]:
        """Yield one JSON explanation for each popular item: how many users had it, and how rules moved it."""
        shares = [None] * len(ranking.rows) if ranking.shares is None else rounded(ranking.shares)
        for row, count, share in zip(ranking.rows.tolist(), self.user_counts(ranking.rows), shares, strict=True):
            sentence = popular_sentence(count) + rules_sentence(share or 0.0, pinned=row in ranking.pinned)
            if row in ranking.explored:
                sentence += EXPLORED_SENTENCE
            yield orjson.dumps({"sentence": sentence} | ({} if share is None else {"rules": share}))
