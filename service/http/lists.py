"""From profiles and what was asked of them to the lists of an answer: one way for one user, a session and a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.http.requests import RecommendQuery
from service.ranking.constraints import NO_TERMS, Terms, filtered, ruled
from service.ranking.diversity import BY_SCORE, Order
from service.ranking.profile import Profile
from service.ranking.recommender import Ranking
from service.ranking.rules import Rules
from service.state import Service, Serving


@dataclass(frozen=True)
class Wanted:
    """What one call wants of its lists, in rows of the bundle that answers."""

    query: RecommendQuery
    terms: Terms = NO_TERMS
    order: Order = BY_SCORE


async def wanted(service: Service, serving: Serving, query: RecommendQuery, rules: Rules | None = None) -> Wanted:
    """The call's filters and rules, and the standing ones. Blocks of either hold; of pins that meet, the call's."""
    standing = await service.rules.terms(serving.bundle, serving.catalogue)
    terms = await filtered(query.filters, serving.bundle.item_ids, serving.catalogue)
    if rules is not None:
        terms = terms.with_(await ruled(rules, serving.bundle.item_ids, serving.catalogue))
    return Wanted(query, terms.with_(standing), query.order)


async def ranked(serving: Serving, profiles: Sequence[Profile | None], wants: Wanted) -> list[Ranking]:
    """A ranking for each profile, by one search for all."""
    query = wants.query
    return await serving.ranker.rank(
        profiles, query.k, query.offset, exclude_seen=query.exclude_seen, terms=wants.terms, order=wants.order
    )


def listed(serving: Serving, most: int, profile: Profile | None, ranking: Ranking, wants: Wanted) -> dict[str, Any]:
    """The part of an answer that tells of one ranking; `most` past items are named in an explanation."""
    query = wants.query
    items = serving.items.ranked(ranking.rows.tolist(), list(ranking.scores), first=query.offset + 1)
    if ranking.pinned:
        for item, row in zip(items, ranking.rows.tolist(), strict=True):
            if row in ranking.pinned:
                item["pinned"] = True
    if query.explain:
        for item, explanation in zip(items, _explanations(serving, most, profile, ranking, wants), strict=True):
            item["explanation"] = explanation
    return {"source": ranking.source, "missing": query.k - len(items), "items": items}


def _explanations(
    serving: Serving, most: int, profile: Profile | None, ranking: Ranking, wants: Wanted
) -> Iterator[dict[str, Any]]:
    if profile is None or ranking.source == "popular":
        return serving.recommender.explain_popular(ranking)
    return serving.recommender.explain(
        profile,
        ranking,
        most=most,
        exclude_seen=wants.query.exclude_seen,
        counterfactual=wants.query.counterfactual,
        terms=wants.terms,
    )
