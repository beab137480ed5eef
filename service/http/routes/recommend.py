"""GET /recommend/{user}, POST /recommend, POST /recommend/batch: what to show a user, a session, many users."""

import asyncio
from typing import Any

from fastapi.routing import APIRoute

from service.bundles.loaded import LoadedBundle
from service.errors import ServiceError
from service.http.lists import ListRequest, list_request, rank, render_list
from service.http.requests import BatchBody, RecommendQuery, SessionBody, bounded
from service.http.responses import BatchAnswer, Query, RecommendAnswer, SessionAnswer
from service.http.route import Call, checked_id, route
from service.ranking.profile import Profile
from service.ranking.rules import Rules
from service.ranking.session import Session, SessionWeights, session_profile, unknown_items
from service.settings import Settings
from service.state import Service


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    return [
        route(
            "/recommend/{user_id:path}",
            recommend,
            query=bounded(RecommendQuery, settings),
            answer=RecommendAnswer,
            refusals=settings.unknown_user_statuses,
            whose=lambda call: call.id,
            keep=True,
            named="user_id",
            impressions=True,
        ),
        route(
            "/recommend",
            session,
            method="POST",
            body=bounded(SessionBody, settings),
            answer=SessionAnswer,
            whose=lambda call: call.body.user_id,
            impressions=True,
            refusals=settings.unknown_user_statuses,
        ),
        route(
            "/recommend/batch",
            batch,
            method="POST",
            body=bounded(BatchBody, settings),
            answer=BatchAnswer,
        ),
    ]


async def recommend(service: Service, call: Call[RecommendQuery]) -> dict[str, Any]:
    """The best items for a user; for an unknown user the most popular ones, with `source` saying so."""
    loaded, query, profile = call.loaded, call.query, call.profile
    if query.plain and service.rules.empty:
        wants = ListRequest(query)
        ranking = await loaded.recommender.recommend(profile, query.k, exclude_seen=query.exclude_seen)
    else:
        wants = await list_request(service, loaded, query)
        (ranking,) = await rank(loaded, [profile], wants)
    call.timings.mark("search")
    answer = render_list(loaded, service.settings.past_items, profile, ranking, wants)
    if query.explain:
        call.timings.mark("explain")
    return {"bundle": loaded.bundle.bundle_id, **answer}


async def session(service: Service, call: Call[Query]) -> dict[str, Any]:
    """The best items for a session, alone or on top of a known user's profile, under rules for this call.

    Where the bundle knows nothing that the session names, the answer is the user's, or what is popular.
    """
    loaded, settings = call.loaded, service.settings
    body: SessionBody = call.body
    given = Session([(item.item_id, item.weight) for item in body.items], body.liked, body.disliked)
    weights = SessionWeights(settings.session_like_weight, settings.session_dislike_weight)
    profile = session_profile(loaded.bundle, call.profile, given, weights)
    wants = await list_request(service, loaded, body, body.rules)
    (ranking,) = await rank(loaded, [profile], wants)
    call.timings.mark("search")
    return {
        "bundle": loaded.bundle.bundle_id,
        "user_id": body.user_id,
        "unknown_items": unknown_items(loaded.bundle, [*given.ids, *_named(body.rules)]),
        **render_list(loaded, settings.past_items, profile, ranking, wants),
    }


async def batch(service: Service, call: Call[Query]) -> dict[str, Any]:
    """The best items for many users, by one search; a user whose id is wrong fails alone."""
    loaded, most = call.loaded, service.settings.past_items
    body: BatchBody = call.body
    asked = list(dict.fromkeys(body.user_ids))
    found = await asyncio.gather(*(_found(loaded, user_id, service.settings) for user_id in asked))
    people = dict(zip(asked, found, strict=True))
    profiles = {user_id: one for user_id, one in people.items() if isinstance(one, Profile)}
    refused = {user_id: one for user_id, one in people.items() if not isinstance(one, Profile)}
    call.timings.mark("user")
    wants = await list_request(service, loaded, body, body.rules)
    rankings = await rank(loaded, list(profiles.values()), wants)
    call.timings.mark("search")
    lists = {}
    for (user_id, profile), ranking in zip(profiles.items(), rankings, strict=True):
        lists[user_id] = render_list(loaded, most, profile, ranking, wants)
        await asyncio.sleep(0)  # many explanations are long work: others are answered in between
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "batch",
        "unknown_items": unknown_items(loaded.bundle, _named(body.rules)),
        "answers": [{"user_id": one, **(lists[one] if one in lists else refused[one])} for one in body.user_ids],
    }


async def _found(loaded: LoadedBundle, user_id: str, settings: Settings) -> Profile | dict[str, str]:
    """The user's profile, or what a call for that user alone would be refused with."""
    try:
        return await loaded.users.find(checked_id(user_id, "user_id", settings.id_max_chars))
    except ServiceError as error:
        return {"error": error.code, "detail": error.detail}


def _named(rules: Rules) -> list[str]:
    """The item ids that rules name."""
    chosen = [one.item_id for one in (*rules.boost, *rules.block) if one.item_id is not None]
    return [*(pin.item_id for pin in rules.pin), *chosen]
