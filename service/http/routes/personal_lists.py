"""The list of one request for a user, a session or several users: its constraints, ranking, rendering, explanations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from index.recommending.profile import Profile
from index.recommending.steps import Steps
from service.bundles.loaded import LoadedBundle
from service.http.exploring import exploration_warnings, explorations
from service.http.requests import RecommendQuery
from service.http.route import Request
from service.http.routes.filtering import query_constraints
from service.ranking.constraints import NO_CONSTRAINTS, Constraints, rule_constraints
from service.ranking.diversity import BY_SCORE, ListOrder
from service.ranking.recommender import Ranking
from service.ranking.rules import Rules
from service.ranking.turns import Turn
from service.state import Service

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ListRequest:
    """The list that one request is for; the constraints hold rows of the bundle that answers it."""

    query: RecommendQuery
    turn: Turn
    constraints: Constraints = NO_CONSTRAINTS
    order: ListOrder = BY_SCORE
    candidates: Array | None = None  # rows in the order given, among which alone items are ranked; None: all items
    warnings: Sequence[str] = ()  # what in the request had no effect

    def among(self, rows: Array) -> "ListRequest":
        """The list of these rows only; rows of -1 are of no item."""
        known = rows[rows >= 0]
        within = Constraints(np.sort(known))
        return replace(self, constraints=self.constraints.merged_with(within), candidates=known)

    @property
    def explores(self) -> bool:
        """Whether places go to items that few users have seen; given candidates are only ordered."""
        return self.query.explores and self.candidates is None


async def list_request(
    service: Service, request: Request[Any], query: RecommendQuery, rules: Rules | None = None
) -> ListRequest:
    """Combine the request's filters and rules with the rules file; the request's pins win over those of the file."""
    loaded = request.loaded
    file_constraints = await service.rules.constraints(loaded.bundle, loaded.facet_store)
    constraints = await query_constraints(service, request, query)
    if rules is not None:
        constraints = constraints.merged_with(await rule_constraints(rules, loaded.bundle.item_ids, loaded.facet_store))
    explored = exploration_warnings(service) if query.explores else ()
    return ListRequest(
        query,
        request.turn,
        constraints.merged_with(file_constraints),
        query.order,
        warnings=[*constraints.warnings, *explored],
    )


async def rank_profiles(
    service: Service,
    loaded: LoadedBundle,
    profiles: Sequence[Profile | None],
    names: Sequence[str],
    listing: ListRequest,
) -> list[Ranking]:
    """A ranking for each profile; the names tell the draws of their explorations apart."""
    query = listing.query
    return await loaded.ranker.rank(
        profiles,
        query.k,
        query.offset,
        exclude_seen=query.exclude_seen,
        constraints=listing.constraints,
        order=listing.order,
        turn=listing.turn,
        candidates=listing.candidates,
        explorations=explorations(service, loaded, query, names) if listing.explores else (),
    )


async def render_list(
    loaded: LoadedBundle,
    max_past_items: int,
    profile: Profile | None,
    ranking: Ranking,
    listing: ListRequest,
) -> dict[str, Any]:
    """The fields of a response that hold one ranking; an explanation names at most `max_past_items`."""
    query, rows, turn = listing.query, ranking.rows.tolist(), listing.turn
    marked = ranking.pinned or ranking.explored
    more = [_marks(ranking, row) for row in rows] if marked else [b""] * len(rows)
    if query.explain:
        explanations = await turn.run(_explain(loaded, max_past_items, profile, ranking, listing))
        more = [b'%b,"explanation":%b' % pair for pair in zip(more, explanations, strict=True)]
    items = loaded.items.ranked(rows, ranking.scores, first=query.offset + 1, more=more, fields=query.chosen_fields)
    return {"source": ranking.source, "missing": query.k - len(rows), "items": items}


def _marks(ranking: Ranking, row: int) -> bytes:
    pinned = b',"pinned":true' if row in ranking.pinned else b""
    return pinned + (b',"exploration":true' if row in ranking.explored else b"")


def _explain(
    loaded: LoadedBundle, max_past_items: int, profile: Profile | None, ranking: Ranking, listing: ListRequest
) -> Steps[list[bytes]]:
    if profile is None or ranking.source == "popular":
        return list(loaded.recommender.explain_popular(ranking))
    return (
        yield from loaded.recommender.explain(
            profile,
            ranking,
            most=max_past_items,
            exclude_seen=listing.query.exclude_seen,
            counterfactual=listing.query.counterfactual,
            constraints=listing.constraints,
        )
    )
