"""A user becomes ranked and explained items. No HTTP, no Redis."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from index.bundle import Bundle
from service.explain import explain, ranks_without
from service.items import Items
from service.profile import NO_ROWS, Profile, Source
from service.search import Search
from service.tell import tell

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Ranking:
    """Items best first, and what ranked them."""

    rows: Array  # (<= k,)
    scores: Array  # (<= k,)
    source: Source | Literal["popular"]


class Recommender:
    """Ranks by inner product for a user who has a vector, by popularity for anyone else."""

    def __init__(self, bundle: Bundle, items: Items, search: Search) -> None:
        self._bundle = bundle
        self._items = items
        self._search = search
        trend, count = bundle.popularity_trend, bundle.popularity_count
        self._popularity = trend if trend.any() else count
        self._by_popularity = np.argsort(-self._popularity, kind="stable")  # (n_items,)

    async def recommend(self, profile: Profile | None, k: int, *, exclude_seen: bool) -> Ranking:
        """The k best items for whoever it is; fewer where fewer are left."""
        hidden = NO_ROWS if profile is None else _hidden(profile, exclude_seen=exclude_seen)
        if profile is None or not profile.known:
            return self.popular(k, hidden)
        rows, scores = await self._search(profile.vector, k, hidden)
        return Ranking(rows, scores, profile.source)

    def popular(self, k: int, hidden: Array = NO_ROWS) -> Ranking:
        """The k most popular items that are not hidden."""
        rows = self._by_popularity[: k + len(hidden)]
        rows = rows[~np.isin(rows, hidden)][:k] if len(hidden) else rows
        return Ranking(rows, self._popularity[rows], "popular")

    def counts(self, rows: Array) -> list[int]:
        """How many users had each item."""
        counts: list[int] = self._bundle.popularity_count[rows].tolist()
        return counts

    def explain(
        self, profile: Profile, ranking: Ranking, *, most: int, exclude_seen: bool, counterfactual: bool
    ) -> Iterator[dict[str, Any]]:
        """For each ranked item: a sentence, shares by part, the past items that add most, the user's own term.

        With counterfactual each named past item carries the item's rank if it were taken away, which scores the
        whole catalogue once for every past item named.
        """
        bundle, rows = self._bundle, ranking.rows
        past_vectors = bundle.fold_in[profile.past]
        parts = {name: part[rows] for name, part in bundle.item_parts.items()}
        found = explain(profile, past_vectors, items=bundle.item_embeddings[rows], parts=parts, most=most)
        ranks = None
        if counterfactual:
            ranks = ranks_without(
                profile,
                past_vectors,
                embeddings=bundle.item_embeddings,
                rows=rows,
                past=found.past,
                hidden=_hidden(profile, exclude_seen=exclude_seen),
                freed=~np.isin(profile.past, profile.excluded),
            )
        return tell(found, profile.past[found.past], self._items.name, ranks)

    def explain_popular(self, rows: Array) -> Iterator[dict[str, Any]]:
        """Why a popular item was shown: only how many had it."""
        for count in self.counts(rows):
            people = "1 person" if count == 1 else f"{count} people"
            yield {"sentence": f"Popular: {people} had it; nothing is known of your own taste yet."}


def _hidden(profile: Profile, *, exclude_seen: bool) -> Array:
    """The rows that this profile may not be shown."""
    return np.concatenate([profile.past, profile.excluded]) if exclude_seen else profile.excluded
