"""Ranks and renders the lists of a response, in one way for a user, a session and a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.bundles.loaded import LoadedBundle
from service.http.requests import RecommendQuery
from service.ranking.constraints import NO_CONSTRAINTS, Constraints, filter_constraints, rule_constraints
from service.ranking.diversity import BY_SCORE, Order
from service.ranking.profile import Profile
from service.ranking.recommender import Ranking
from service.ranking.rules import Rules
from service.state import Service


@dataclass(frozen=True)
class ListRequest:
    """The list that one request is for; the constraints hold rows of the bundle that answers it."""

    query: RecommendQuery
    constraints: Constraints = NO_CONSTRAINTS
    order: Order = BY_SCORE


async def list_request(
    service: Service, loaded: LoadedBundle, query: RecommendQuery, rules: Rules | None = None
) -> ListRequest:
    """Combine the request's filters and rules with the rules file; the request's pins win over those of the file."""
    file_constraints = await service.rules.constraints(loaded.bundle, loaded.facet_store)
    constraints = await filter_constraints(query.filters, loaded.bundle.item_ids, loaded.facet_store)
    if rules is not None:
        constraints = constraints.with_(await rule_constraints(rules, loaded.bundle.item_ids, loaded.facet_store))
    return ListRequest(query, constraints.with_(file_constraints), query.order)


async def rank(loaded: LoadedBundle, profiles: Sequence[Profile | None], request: ListRequest) -> list[Ranking]:
    """A ranking for each profile, by one search for all."""
    query = request.query
    return await loaded.ranker.rank(
        profiles,
        query.k,
        query.offset,
        exclude_seen=query.exclude_seen,
        constraints=request.constraints,
        order=request.order,
    )


def render_list(
    loaded: LoadedBundle, max_past_items: int, profile: Profile | None, ranking: Ranking, request: ListRequest
) -> dict[str, Any]:
    """The fields of a response that hold one ranking; an explanation names at most `max_past_items`."""
    query = request.query
    items = loaded.items.ranked(ranking.rows.tolist(), list(ranking.scores), first=query.offset + 1)
    if ranking.pinned:
        for item, row in zip(items, ranking.rows.tolist(), strict=True):
            if row in ranking.pinned:
                item["pinned"] = True
    if query.explain:
        explanations = _explain(loaded, max_past_items, profile, ranking, request)
        for item, explanation in zip(items, explanations, strict=True):
            item["explanation"] = explanation
    return {"source": ranking.source, "missing": query.k - len(items), "items": items}


def _explain(
    loaded: LoadedBundle, max_past_items: int, profile: Profile | None, ranking: Ranking, request: ListRequest
) -> Iterator[dict[str, Any]]:
    if profile is None or ranking.source == "popular":
        return loaded.recommender.explain_popular(ranking)
    return loaded.recommender.explain(
        profile,
        ranking,
        most=max_past_items,
        exclude_seen=request.query.exclude_seen,
        counterfactual=request.query.counterfactual,
        constraints=request.constraints,
    )
