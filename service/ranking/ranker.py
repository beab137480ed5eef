"""Ranks items under constraints and in any order: filters, boosts, pins, caps, diversity, jitter, exploration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from index.recommending.profile import Profile
from service.ranking.candidates import Candidates, RankingContext
from service.ranking.constraints import Constraints
from service.ranking.diversity import Caps, ListOrder, arrange, jittered
from service.ranking.exploration import Exploration, mix
from service.ranking.facets import CATEGORY, Facets, FacetStore
from service.ranking.recommender import Ranking
from service.ranking.scoring import Scoring
from service.ranking.search import ItemSearch
from service.ranking.similar import SimilarItems
from service.ranking.turns import Turn

Array = np.ndarray[Any, Any]

VECTORS_AT_ONCE = 8  # searched in one step
ITEMS_AT_ONCE = 400_000  # scored in one step, where that is fewer vectors
NOTHING_EXPLORED: frozenset[int] = frozenset()


class Ranker:
    """Ranks items for one profile or many, under constraints and in a given order.

    BundleRecommender ranks a single profile without either, at less cost.
    """

    def __init__(
        self,
        scoring: Scoring,
        by_popularity: Array,
        search: ItemSearch,
        similar_items: SimilarItems,
        facet_store: FacetStore,
        *,
        pool: int,
        at_once: int | None = None,
    ) -> None:
        """`at_once`: how many profiles to rank in one step, where no request waits for its end."""
        self._scoring = scoring
        self._by_popularity = by_popularity  # (n_items,) rows, the most popular first
        self._search = search
        self._similar_items = similar_items
        self._facet_store = facet_store
        self._pool = pool
        self._at_once = at_once or max(1, min(VECTORS_AT_ONCE, ITEMS_AT_ONCE // len(scoring)))

    def over(
        self,
        scoring: Scoring,
        by_popularity: Array,
        search: ItemSearch,
        similar_items: SimilarItems,
        facet_store: FacetStore,
    ) -> "Ranker":
        """The same ranking of other items."""
        return Ranker(
            scoring, by_popularity, search, similar_items, facet_store, pool=self._pool, at_once=self._at_once
        )

    async def rank(
        self,
        profiles: Sequence[Profile | None],
        k: int,
        offset: int = 0,
        *,
        exclude_seen: bool,
        constraints: Constraints,
        order: ListOrder,
        turn: Turn,
        candidates: Array | None = None,
        explorations: Sequence[Exploration] = (),
    ) -> list[Ranking]:
        """The ranking of each profile, at most k items from place offset + 1 on; one search serves several profiles.

        `candidates` are the only rows to rank, each once; of equal scores the one given first comes first.
        `explorations` are those of each profile's list; without any the lists explore nothing.
        """
        depth = offset + k
        hidden, facets = self._search.hidden, await self._category_facets(order)
        n = depth if order.plain else max(depth, self._pool)
        rankings = []
        for start in range(0, len(profiles), self._at_once):
            part = slice(start, start + self._at_once)
            contexts = [
                RankingContext(profile, constraints, self._scoring, hidden=hidden, exclude_seen=exclude_seen)
                for profile in profiles[part]
            ]
            await turn.pause()
            if candidates is None:
                best = await self._best_candidates(contexts, n, constraints)
                if len(contexts) == 1:  # the wait for a search that several requests share is no computing of this one
                    await turn.begin()
            else:
                best = [context.score_allowed(candidates) for context in contexts]
            little_seen = await self._little_seen(
                profiles[part], explorations[part], constraints, exclude_seen=exclude_seen
            )
            for i, (context, found) in enumerate(zip(contexts, best, strict=True)):
                await turn.pause()
                chosen, explored = found, NOTHING_EXPLORED
                if not order.plain:
                    chosen = await self._reorder(context, found, depth, order, facets, turn=turn)
                if explorations:
                    chosen, explored = _explore(
                        explorations[start + i],
                        chosen,
                        little_seen[i],
                        depth,
                        caps=Caps(order.category_cap),
                        facets=facets,
                    )
                rankings.append(context.to_ranking(chosen, offset, depth, explored))
        return rankings

    async def _little_seen(
        self,
        profiles: Sequence[Profile | None],
        explorations: Sequence[Exploration],
        constraints: Constraints,
        *,
        exclude_seen: bool,
    ) -> list[Candidates]:
        """For each exploration the best-scored of the items that few can have seen, as many as it draws from."""
        if not explorations:
            return []
        rare = constraints.merged_with(Constraints(explorations[0].rarely_had()))
        hidden = self._search.hidden
        contexts = [
            RankingContext(profile, rare, self._scoring, hidden=hidden, exclude_seen=exclude_seen)
            for profile in profiles
        ]
        ranked = [context for context in contexts if context.vector is not None]
        found = iter(await self._best_candidates(ranked, explorations[0].pool, rare))
        return [
            context.score_allowed(exploration.sample(np.flatnonzero(context.candidate_mask())))
            if context.vector is None
            else next(found)
            for context, exploration in zip(contexts, explorations, strict=True)
        ]

    async def _category_facets(self, order: ListOrder) -> Facets | None:
        """The facets, where a category cap needs them."""
        if order.category_cap is None:
            return None
        facets = await self._facet_store.facets()
        facets.rows_with(CATEGORY, ())  # InvalidRequestError where there are too many categories
        return facets

    async def _best_candidates(
        self, contexts: Sequence[RankingContext], n: int, constraints: Constraints
    ) -> list[Candidates]:
        """The n best candidates of each context."""
        boosted, _ = constraints.boosted
        searches = [
            (context.vector, np.concatenate([context.excluded, boosted]))
            for context in contexts
            if context.vector is not None
        ]
        results = iter(
            await self._search.many(
                [vector for vector, _ in searches], n, [excluded for _, excluded in searches], constraints.within
            )
        )
        return [
            context.merge_boosted(*(self._popular(context, n, boosted) if context.vector is None else next(results)), n)
            for context in contexts
        ]

    def _popular(self, context: RankingContext, n: int, boosted: Array) -> tuple[Array, Array]:
        mask = context.candidate_mask()
        mask[boosted] = False
        rows = self._by_popularity[mask[self._by_popularity]][:n]
        return rows, self._scoring.score(None, rows)

    async def _reorder(
        self,
        context: RankingContext,
        candidates: Candidates,
        depth: int,
        order: ListOrder,
        facets: Facets | None,
        *,
        turn: Turn,
    ) -> Candidates:
        """The candidates in the given order; where a category cap leaves too few, search for more."""
        caps = Caps(order.category_cap)
        chosen = self._arrange_pool(candidates, depth, caps, order, facets)
        while facets is not None and len(chosen) < depth and len(candidates):
            full = facets.rows_of_categories(list(caps.full_categories()))
            context.exclude(np.concatenate([candidates.rows, full]))
            await turn.pause()
            (candidates,) = await self._best_candidates([context], depth, context.constraints)
            chosen = chosen.followed_by(_by_score(candidates, depth - len(chosen), caps, facets))
        return chosen

    def _arrange_pool(
        self, candidates: Candidates, depth: int, caps: Caps, order: ListOrder, facets: Facets | None
    ) -> Candidates:
        """Arrange the pool of the best candidates; what follows the pool stays in order of score."""
        pool, rest = candidates[: self._pool], candidates[self._pool :]
        places = arrange(
            jittered(pool.scores, order.seed),
            depth,
            caps,
            _categories(pool.rows, facets),
            diversity=order.diversity,
            vectors=self._similar_items.vectors(order.by, pool.rows) if order.diversity else None,
        )
        return pool[places].followed_by(_by_score(rest, depth - len(places), caps, facets))


def _explore(
    exploration: Exploration,
    chosen: Candidates,
    pool: Candidates,
    depth: int,
    *,
    caps: Caps,
    facets: Facets | None,
) -> tuple[Candidates, frozenset[int]]:
    """The chosen items mixed with what the exploration draws from the pool, and the rows explored."""
    pool = pool[pool.shares >= 0]  # without what a rule moves down
    drawn = pool[exploration.drawn(pool.rows)]
    both = chosen.followed_by(drawn)
    place_of = {row: place for place, row in reversed(list(enumerate(both.rows.tolist())))}
    categories = dict(zip(place_of, _categories(np.array(list(place_of), np.int64), facets).tolist(), strict=True))
    rows, explored = mix(
        chosen.rows.tolist(),
        drawn.rows.tolist(),
        exploration.share,
        depth,
        caps=caps,
        category_of=categories.__getitem__,
    )
    return both[[place_of[row] for row in rows]], frozenset(explored)


def _by_score(candidates: Candidates, n: int, caps: Caps, facets: Facets | None) -> Candidates:
    return candidates[arrange(candidates.scores, n, caps, _categories(candidates.rows, facets))]


def _categories(rows: Array, facets: Facets | None) -> Array:
    return np.full(len(rows), -1) if facets is None else facets.categories[rows]
