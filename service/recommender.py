"""A user becomes ranked and explained items. No HTTP, no Redis."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from index.bundle import Bundle
from service.explain import explain, ranks_without
from service.items import Items
from service.search import Search
from service.tell import tell
from service.users import KnownUser

Array = np.ndarray[Any, Any]

NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Ranking:
    """Items best first, and what ranked them."""

    rows: Array  # (<= k,)
    scores: Array  # (<= k,)
    source: Literal["user", "popular"]


class Recommender:
    """Ranks by inner product for a user who has a vector, by popularity for anyone else."""

    def __init__(self, bundle: Bundle, items: Items, search: Search) -> None:
        self._bundle = bundle
        self._items = items
        self._search = search
        trend, count = bundle.popularity_trend, bundle.popularity_count
        self._popularity = trend if trend.any() else count
        self._by_popularity = np.argsort(-self._popularity, kind="stable")  # (n_items,)

    async def recommend(self, user: KnownUser | None, k: int, *, exclude_seen: bool) -> Ranking:
        """The k best items for the user; fewer where fewer are left."""
        hidden = user.seen if user is not None and exclude_seen else NO_ROWS
        if user is None or not user.vector.any():
            return self.popular(k, hidden)
        rows, scores = await self._search(user.vector, k, hidden)
        return Ranking(rows, scores, "user")

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
        self, user: KnownUser, ranking: Ranking, *, most: int, exclude_seen: bool, counterfactual: bool
    ) -> Iterator[dict[str, Any]]:
        """For each ranked item: a sentence, shares by part, the past items that add most, the user's own term.

        With counterfactual each named past item carries the item's rank if it were taken away, which scores the
        whole catalogue once for every past item named.
        """
        bundle, rows = self._bundle, ranking.rows
        past_vectors, own = bundle.fold_in[user.seen], bundle.user_own[user.row]
        parts = {name: part[rows] for name, part in bundle.item_parts.items()}
        found = explain(user.vector, own, past_vectors, items=bundle.item_embeddings[rows], parts=parts, most=most)
        ranks = None
        if counterfactual:
            hidden = user.seen if exclude_seen else NO_ROWS
            ranks = ranks_without(
                own, past_vectors, embeddings=bundle.item_embeddings, rows=rows, past=found.past, hidden=hidden
            )
        return tell(found, user.seen[found.past], self._items.name, ranks)

    def explain_popular(self, rows: Array) -> Iterator[dict[str, Any]]:
        """Why a popular item was shown: only how many had it."""
        for count in self.counts(rows):
            people = "1 person" if count == 1 else f"{count} people"
            yield {"sentence": f"Popular: {people} had it; nothing is known of your own taste yet."}
