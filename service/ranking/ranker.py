"""Rankings under terms and in an order: filters, boosts, pins, caps, diversity, chance; for one profile or many."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.ranking.candidates import Candidates, RankingContext
from service.ranking.constraints import Constraints
from service.ranking.diversity import Caps, Order, arranged, jittered
from service.ranking.facets import CATEGORY, Facets, FacetStore
from service.ranking.profile import Profile
from service.ranking.recommender import Ranking
from service.ranking.scoring import Scoring
from service.ranking.search import Search
from service.ranking.similar import SimilarItems

Array = np.ndarray[Any, Any]


class Ranker:
    """What the recommender does in one line for plain calls, for all others."""

    def __init__(
        self,
        scoring: Scoring,
        by_popularity: Array,
        search: Search,
        similar_items: SimilarItems,
        facet_store: FacetStore,
        *,
        pool: int,
    ) -> None:
        self._scoring = scoring
        self._by_popularity = by_popularity  # (n_items,) rows, the most popular first
        self._search = search
        self._neighbours = similar_items
        self._catalogue = facet_store
        self._pool = pool

    async def rank(
        self,
        profiles: Sequence[Profile | None],
        k: int,
        offset: int = 0,
        *,
        exclude_seen: bool,
        constraints: Constraints,
        order: Order,
    ) -> list[Ranking]:
        """For each profile the items from place offset + 1 on, at most k; one search for all of them."""
        depth = offset + k
        hidden, facets = self._search.hidden, await self._facets(order)
        contexts = [
            RankingContext(one, constraints, self._scoring, hidden=hidden, exclude_seen=exclude_seen)
            for one in profiles
        ]
        found = await self._best(contexts, depth if order.plain else max(depth, self._pool), constraints)
        rankings = []
        for context, candidates in zip(contexts, found, strict=True):
            if not order.plain:
                candidates = await self._ordered(context, candidates, depth, order, facets)  # noqa: PLW2901
            rankings.append(context.ranking(candidates, offset, depth))
        return rankings

    async def _facets(self, order: Order) -> Facets | None:
        """The categories, where a cap must tell them apart."""
        if order.category_cap is None:
            return None
        facets = await self._catalogue.facets()
        facets.rows_with(CATEGORY, ())  # InvalidRequestError where there are too many of them
        return facets

    async def _best(self, contexts: Sequence[RankingContext], n: int, constraints: Constraints) -> list[Candidates]:
        """The n best candidates of each."""
        boosted, _ = constraints.boosted
        known = [(one.vector, np.concatenate([one.without, boosted])) for one in contexts if one.vector is not None]
        found = iter(
            await self._search.many([v for v, _ in known], n, [without for _, without in known], constraints.within)
        )
        return [
            one.best(*(self._popular(one, n, boosted) if one.vector is None else next(found)), n) for one in contexts
        ]

    def _popular(self, context: RankingContext, n: int, boosted: Array) -> tuple[Array, Array]:
        mask = context.shown()
        mask[boosted] = False
        rows = self._by_popularity[mask[self._by_popularity]][:n]
        return rows, self._scoring.of(None, rows)

    async def _ordered(
        self, context: RankingContext, candidates: Candidates, depth: int, order: Order, facets: Facets | None
    ) -> Candidates:
        """The candidates in the order asked for; where a cap leaves too few, more are searched for."""
        caps = Caps(order.category_cap)
        chosen = self._arranged(candidates, depth, caps, order, facets)
        while facets is not None and len(chosen) < depth and len(candidates):
            context.leave_out(np.concatenate([candidates.rows, *map(facets.rows_of_category, caps.full())]))
            (candidates,) = await self._best([context], depth, context.constraints)
            chosen = chosen.followed_by(_by_score(candidates, depth - len(chosen), caps, facets))
        return chosen

    def _arranged(
        self, candidates: Candidates, depth: int, caps: Caps, order: Order, facets: Facets | None
    ) -> Candidates:
        pool, rest = candidates[: self._pool], candidates[self._pool :]
        places = arranged(
            jittered(pool.scores, order.seed),
            depth,
            caps,
            _categories(pool.rows, facets),
            diversity=order.diversity,
            vectors=self._neighbours.vectors(order.by, pool.rows) if order.diversity else None,
        )
        return pool[places].followed_by(_by_score(rest, depth - len(places), caps, facets))


def _by_score(candidates: Candidates, n: int, caps: Caps, facets: Facets | None) -> Candidates:
    return candidates[arranged(candidates.scores, n, caps, _categories(candidates.rows, facets))]


def _categories(rows: Array, facets: Facets | None) -> Array:
    return np.full(len(rows), -1) if facets is None else facets.categories[rows]
