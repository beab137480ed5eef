"""From profiles and what was asked of them to the lists of an answer: one way for one user, a session and a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.bundles.loaded import LoadedBundle
from service.http.requests import RecommendQuery
from service.ranking.constraints import NO_CONSTRAINTS, Constraints, filter_constraints, rule_constraints
from service.ranking.diversity import BY_SCORE, ListOrder
from service.ranking.profile import Profile
from service.ranking.recommender import Ranking
from service.ranking.rules import Rules
from service.state import Service


@dataclass(frozen=True)
class ListRequest:
    """What one call wants of its lists, in rows of the bundle that answers."""

    query: RecommendQuery
    constraints: Constraints = NO_CONSTRAINTS
    order: ListOrder = BY_SCORE


async def list_request(
    service: Service, loaded: LoadedBundle, query: RecommendQuery, rules: Rules | None = None
) -> ListRequest:
    """The call's filters and rules, and the standing ones. Blocks of either hold; of pins that meet, the call's."""
    standing = await service.rules.constraints(loaded.bundle, loaded.facet_store)
    constraints = await filter_constraints(query.filters, loaded.bundle.item_ids, loaded.facet_store)
    if rules is not None:
        constraints = constraints.merged_with(await rule_constraints(rules, loaded.bundle.item_ids, loaded.facet_store))
    return ListRequest(query, constraints.merged_with(standing), query.order)


async def rank(loaded: LoadedBundle, profiles: Sequence[Profile | None], wants: ListRequest) -> list[Ranking]:
    """A ranking for each profile, by one search for all."""
    query = wants.query
    return await loaded.ranker.rank(
        profiles,
        query.k,
        query.offset,
        exclude_seen=query.exclude_seen,
        constraints=wants.constraints,
        order=wants.order,
    )


def render_list(
    loaded: LoadedBundle, most: int, profile: Profile | None, ranking: Ranking, wants: ListRequest
) -> dict[str, Any]:
    """The part of an answer that tells of one ranking; `most` past items are named in an explanation."""
    query = wants.query
    items = loaded.items.ranked(ranking.rows.tolist(), list(ranking.scores), first=query.offset + 1)
    if ranking.pinned:
        for item, row in zip(items, ranking.rows.tolist(), strict=True):
            if row in ranking.pinned:
                item["pinned"] = True
    if query.explain:
        for item, explanation in zip(items, _explanations(loaded, most, profile, ranking, wants), strict=True):
            item["explanation"] = explanation
    return {"source": ranking.source, "missing": query.k - len(items), "items": items}


def _explanations(
    loaded: LoadedBundle, most: int, profile: Profile | None, ranking: Ranking, wants: ListRequest
) -> Iterator[dict[str, Any]]:
    if profile is None or ranking.source == "popular":
        return loaded.recommender.explain_popular(ranking)
    return loaded.recommender.explain(
        profile,
        ranking,
        most=most,
        exclude_seen=wants.query.exclude_seen,
        counterfactual=wants.query.counterfactual,
        constraints=wants.constraints,
    )
