"""GET /recommend/{user_id}, POST /recommend, /recommend/batch and /rank: items for a user, a session, several users."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from fastapi.routing import APIRoute

from service.bundles.loaded import LoadedBundle
from service.errors import ServiceError
from service.http.exploring import exploration_warnings, explorations, explored_version
from service.http.item_fields import field_warnings
from service.http.known_ids import is_known_user
from service.http.parameters import Query
from service.http.request_cost import list_cost
from service.http.requests import BatchBody, RankBody, RecommendQuery, SessionBody, rank_body, with_limits
from service.http.responses import BatchAnswer, RankAnswer, RecommendAnswer, SessionAnswer
from service.http.route import Request, check_id, route, user_in_path
from service.http.routes.filtering import query_constraints, warnings_of
from service.ranking.constraints import NO_CONSTRAINTS, Constraints, rule_constraints
from service.ranking.diversity import BY_SCORE, ListOrder
from service.ranking.profile import NO_ROWS, Profile
from service.ranking.recommender import Ranking
from service.ranking.rules import Rules
from service.ranking.session import Session, SessionWeights, session_profile, unknown_items
from service.ranking.turns import Steps, Turn
from service.settings import HttpSettings, Settings
from service.state import Service

Array = np.ndarray[Any, Any]


def routes(settings: Settings) -> list[APIRoute]:
    """The three routes of /recommend, and /rank."""
    return [
        route(
            "/recommend/{user_id}",
            recommend,
            query=with_limits(RecommendQuery, settings),
            response=RecommendAnswer,
            errors=settings.unknown_user_statuses,
            user_of=user_in_path,
            cost_of=list_cost,
            cacheable=True,
            cache_variant=explored_version,
            user_field="user_id",
            impressions=True,
            is_known=is_known_user,
        ),
        route(
            "/recommend",
            session,
            method="POST",
            body=with_limits(SessionBody, settings),
            response=SessionAnswer,
            user_of=lambda request: request.body.user_id,
            cost_of=list_cost,
            impressions=True,
            errors=settings.unknown_user_statuses,
        ),
        route(
            "/recommend/batch",
            batch,
            method="POST",
            body=with_limits(BatchBody, settings),
            response=BatchAnswer,
            cost_of=list_cost,
        ),
        route(
            "/rank",
            rank,
            method="POST",
            body=rank_body(settings),
            response=RankAnswer,
            user_of=lambda request: request.body.user_id,
            cost_of=list_cost,
            errors=settings.unknown_user_statuses,
        ),
    ]


async def recommend(service: Service, request: Request[RecommendQuery]) -> dict[str, Any]:
    """The best items for a user; for an unknown user the most popular ones, with the source `popular`."""
    loaded, query, profile = request.loaded, request.query, request.profile
    await request.turn.begin()
    if query.plain and service.rules.empty:
        listing = _ListRequest(query, request.turn)
        ranking = await loaded.recommender.recommend(profile, query.k, exclude_seen=query.exclude_seen)
        await request.turn.begin()  # the wait for a search that several requests share is no computing of this one
    else:
        listing = await _list_request(service, request, query)
        unknown = profile is loaded.users.unknown_profile  # whose response is one for all unknown users
        (ranking,) = await _rank(service, loaded, [profile], ["" if unknown else request.id], listing)
    request.timings.mark("search")
    request.shown, request.explored = ranking.rows.tolist(), ranking.explored
    fields = await _render_list(loaded, service.settings.past_items, profile, ranking, listing)
    if query.explain:
        request.timings.mark("explain")
    answer = {"bundle": loaded.bundle.bundle_id, **fields}
    if listing.warnings or query.fields:
        answer |= warnings_of(listing.warnings, await field_warnings(loaded, query, request.shown))
    return answer


async def session(service: Service, request: Request[Query]) -> dict[str, Any]:
    """The best items for a session, alone or added to a known user's profile, with rules for this request.

    Where the bundle knows none of the session's items, the response is the user's, or the popular items.
    """
    return await _session_answer(service, request, None)


async def rank(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Candidates in the order of their scores for a user, a session, or both; without any of these by popularity.

    Each candidate is scored, and explained, as it would be in a list of /recommend.
    """
    body: RankBody = request.body
    return await _session_answer(service, request, list(dict.fromkeys(body.candidates)))


async def _session_answer(
    service: Service, request: Request[Query], candidates: Sequence[str] | None
) -> dict[str, Any]:
    """The response for a session: of all items, or of the candidates."""
    loaded, settings = request.loaded, service.settings
    body: SessionBody = request.body
    session_items = Session([(item.item_id, item.weight) for item in body.items], body.liked, body.disliked)
    await request.turn.begin()
    weights = SessionWeights(settings.session_like_weight, settings.session_dislike_weight)
    profile = session_profile(loaded.bundle, request.profile, session_items, weights)
    await request.turn.pause()
    listing = await _list_request(service, request, body, body.rules)
    if candidates is not None:
        listing = listing.among(loaded.bundle.item_ids.rows(candidates))
    (ranking,) = await _rank(service, loaded, [profile], [body.user_id or "\0".join(session_items.ids)], listing)
    request.timings.mark("search")
    request.shown, request.explored = ranking.rows.tolist(), ranking.explored
    return {
        "bundle": loaded.bundle.bundle_id,
        "user_id": body.user_id,
        "unknown_items": unknown_items(
            loaded.bundle, [*(candidates or ()), *session_items.ids, *_item_ids(body.rules)]
        ),
        **await _render_list(loaded, settings.past_items, profile, ranking, listing),
        **warnings_of(listing.warnings, await field_warnings(loaded, body, request.shown)),
    }


async def batch(service: Service, request: Request[Query]) -> dict[str, Any]:
    """The best items for several users, by one search; an invalid user id fails alone."""
    loaded, max_past_items = request.loaded, service.settings.past_items
    body: BatchBody = request.body
    user_ids = list(dict.fromkeys(body.user_ids))
    found = await asyncio.gather(*(_profile_or_error(loaded, user_id, service.settings) for user_id in user_ids))
    by_user = dict(zip(user_ids, found, strict=True))
    profiles = {user_id: profile for user_id, profile in by_user.items() if isinstance(profile, Profile)}
    errors = {user_id: error for user_id, error in by_user.items() if not isinstance(error, Profile)}
    request.timings.mark("user")
    await request.turn.begin()
    listing = await _list_request(service, request, body, body.rules)
    unknown = loaded.users.unknown_profile
    names = ["" if profile is unknown else user_id for user_id, profile in profiles.items()]
    rankings = await _rank(service, loaded, list(profiles.values()), names, listing)
    request.timings.mark("search")
    answers = {
        user_id: orjson.Fragment(orjson.dumps({"user_id": user_id, **error})) for user_id, error in errors.items()
    }
    for (user_id, profile), ranking in zip(profiles.items(), rankings, strict=True):
        fields = await _render_list(loaded, max_past_items, profile, ranking, listing)
        # Rendered one by one: all at once would hold up the loop, and so would collecting garbage among all of them.
        answer = orjson.dumps({"user_id": user_id, **fields}, option=orjson.OPT_SERIALIZE_NUMPY)
        answers[user_id] = orjson.Fragment(answer)
        await request.turn.pause()
    shown = np.concatenate([NO_ROWS, *(ranking.rows for ranking in rankings)]).tolist()
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "batch",
        "unknown_items": unknown_items(loaded.bundle, _item_ids(body.rules)),
        "answers": [answers[user_id] for user_id in body.user_ids],
        **warnings_of(listing.warnings, await field_warnings(loaded, body, shown)),
    }


async def _profile_or_error(loaded: LoadedBundle, user_id: str, settings: HttpSettings) -> Profile | dict[str, str]:
    """The user's profile, or the error that a request for this user alone would get."""
    try:
        return await loaded.users.find(check_id(user_id, "user_id", settings.id_max_chars))
    except ServiceError as error:
        return {"error": error.code, "detail": error.detail}


def _item_ids(rules: Rules) -> list[str]:
    """The items that the rules name by id."""
    selected = [rule.item_id for rule in (*rules.boost, *rules.block) if rule.item_id is not None]
    return [*(pin.item_id for pin in rules.pin), *selected]


@dataclass(frozen=True)
class _ListRequest:
    """The list that one request is for; the constraints hold rows of the bundle that answers it."""

    query: RecommendQuery
    turn: Turn
    constraints: Constraints = NO_CONSTRAINTS
    order: ListOrder = BY_SCORE
    candidates: Array | None = None  # rows in the order given, among which alone items are ranked; None: all items
    warnings: Sequence[str] = ()  # what in the request had no effect

    def among(self, rows: Array) -> "_ListRequest":
        """The list of these rows only; rows of -1 are of no item."""
        known = rows[rows >= 0]
        within = Constraints(np.sort(known))
        return replace(self, constraints=self.constraints.merged_with(within), candidates=known)

    @property
    def explores(self) -> bool:
        """Whether places go to items that few users have seen; given candidates are only ordered."""
        return self.query.explores and self.candidates is None


async def _list_request(
    service: Service, request: Request[Any], query: RecommendQuery, rules: Rules | None = None
) -> _ListRequest:
    """Combine the request's filters and rules with the rules file; the request's pins win over those of the file."""
    loaded = request.loaded
    file_constraints = await service.rules.constraints(loaded.bundle, loaded.facet_store)
    constraints = await query_constraints(service, request, query)
    if rules is not None:
        constraints = constraints.merged_with(await rule_constraints(rules, loaded.bundle.item_ids, loaded.facet_store))
    explored = exploration_warnings(service) if query.explores else ()
    return _ListRequest(
        query,
        request.turn,
        constraints.merged_with(file_constraints),
        query.order,
        warnings=[*constraints.warnings, *explored],
    )


async def _rank(
    service: Service,
    loaded: LoadedBundle,
    profiles: Sequence[Profile | None],
    names: Sequence[str],
    listing: _ListRequest,
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


async def _render_list(
    loaded: LoadedBundle,
    max_past_items: int,
    profile: Profile | None,
    ranking: Ranking,
    listing: _ListRequest,
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
    loaded: LoadedBundle, max_past_items: int, profile: Profile | None, ranking: Ranking, listing: _ListRequest
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
