"""Rankings under terms and in an order: filters, boosts, pins, caps, diversity, chance; for one profile or many."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.ranking.candidates import Candidates, Person
from service.ranking.constraints import Terms
from service.ranking.diversity import Caps, Order, arranged, jittered
from service.ranking.facets import CATEGORY, Catalogue, Facets
from service.ranking.profile import Profile
from service.ranking.recommender import Ranking
from service.ranking.scoring import Scoring
from service.ranking.search import Search
from service.ranking.similar import Neighbours

Array = np.ndarray[Any, Any]


class Ranker:
    """What the recommender does in one line for plain calls, for all others."""

    def __init__(
        self,
        scoring: Scoring,
        by_popularity: Array,
        search: Search,
        neighbours: Neighbours,
        catalogue: Catalogue,
        *,
        pool: int,
    ) -> None:
        self._scoring = scoring
        self._by_popularity = by_popularity  # (n_items,) rows, the most popular first
        self._search = search
        self._neighbours = neighbours
        self._catalogue = catalogue
        self._pool = pool

    async def rank(
        self,
        profiles: Sequence[Profile | None],
        k: int,
        offset: int = 0,
        *,
        exclude_seen: bool,
        terms: Terms,
        order: Order,
    ) -> list[Ranking]:
        """For each profile the items from place offset + 1 on, at most k; one search for all of them."""
        depth = offset + k
        hidden, facets = self._search.hidden, await self._facets(order)
        people = [Person(one, terms, self._scoring, hidden=hidden, exclude_seen=exclude_seen) for one in profiles]
        found = await self._best(people, depth if order.plain else max(depth, self._pool), terms)
        rankings = []
        for person, candidates in zip(people, found, strict=True):
            if not order.plain:
                candidates = await self._ordered(person, candidates, depth, order, facets)  # noqa: PLW2901
            rankings.append(person.ranking(candidates, offset, depth))
        return rankings

    async def _facets(self, order: Order) -> Facets | None:
        """The categories, where a cap must tell them apart."""
        if order.category_cap is None:
            return None
        facets = await self._catalogue.facets()
        facets.rows_with(CATEGORY, ())  # InvalidRequestError where there are too many of them
        return facets

    async def _best(self, people: Sequence[Person], n: int, terms: Terms) -> list[Candidates]:
        """The n best candidates of each."""
        boosted, _ = terms.boosted
        known = [(one.vector, np.concatenate([one.without, boosted])) for one in people if one.vector is not None]
        found = iter(await self._search.many([v for v, _ in known], n, [without for _, without in known], terms.within))
        return [one.best(*(self._popular(one, n, boosted) if one.vector is None else next(found)), n) for one in people]

    def _popular(self, person: Person, n: int, boosted: Array) -> tuple[Array, Array]:
        mask = person.shown()
        mask[boosted] = False
        rows = self._by_popularity[mask[self._by_popularity]][:n]
        return rows, self._scoring.of(None, rows)

    async def _ordered(
        self, person: Person, candidates: Candidates, depth: int, order: Order, facets: Facets | None
    ) -> Candidates:
        """The candidates in the order asked for; where a cap leaves too few, more are searched for."""
        caps = Caps(order.category_cap)
        chosen = self._arranged(candidates, depth, caps, order, facets)
        while facets is not None and len(chosen) < depth and len(candidates):
            person.leave_out(np.concatenate([candidates.rows, *map(facets.rows_of_category, caps.full())]))
            (candidates,) = await self._best([person], depth, person.terms)
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
