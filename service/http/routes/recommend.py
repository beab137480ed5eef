"""GET /recommend/{user}, POST /recommend, POST /recommend/batch: what to show a user, a session, many users."""

import asyncio
from typing import Any

from fastapi.routing import APIRoute

from service.errors import ServiceError
from service.http.lists import Wanted, listed, ranked, wanted
from service.http.requests import BatchBody, RecommendQuery, SessionBody, bounded
from service.http.responses import BatchAnswer, Query, RecommendAnswer, SessionAnswer
from service.http.route import Call, checked_id, route
from service.ranking.profile import Profile
from service.ranking.rules import Rules
from service.ranking.session import Session, SessionWeights, session_profile, unknown_items
from service.settings import Settings
from service.state import Service, Serving


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
    serving, query, profile = call.serving, call.query, call.profile
    if query.plain and service.rules.none:
        wants = Wanted(query)
        ranking = await serving.recommender.recommend(profile, query.k, exclude_seen=query.exclude_seen)
    else:
        wants = await wanted(service, serving, query)
        (ranking,) = await ranked(serving, [profile], wants)
    call.stages.mark("search")
    answer = listed(serving, service.settings.past_items, profile, ranking, wants)
    if query.explain:
        call.stages.mark("explain")
    return {"bundle": serving.bundle.bundle_id, **answer}


async def session(service: Service, call: Call[Query]) -> dict[str, Any]:
    """The best items for a session, alone or on top of a known user's profile, under rules for this call.

    Where the bundle knows nothing that the session names, the answer is the user's, or what is popular.
    """
    serving, settings = call.serving, service.settings
    body: SessionBody = call.body
    given = Session([(item.item_id, item.weight) for item in body.items], body.liked, body.disliked)
    weights = SessionWeights(settings.session_like_weight, settings.session_dislike_weight)
    profile = session_profile(serving.bundle, call.profile, given, weights)
    wants = await wanted(service, serving, body, body.rules)
    (ranking,) = await ranked(serving, [profile], wants)
    call.stages.mark("search")
    return {
        "bundle": serving.bundle.bundle_id,
        "user_id": body.user_id,
        "unknown_items": unknown_items(serving.bundle, [*given.ids, *_named(body.rules)]),
        **listed(serving, settings.past_items, profile, ranking, wants),
    }


async def batch(service: Service, call: Call[Query]) -> dict[str, Any]:
    """The best items for many users, by one search; a user whose id is wrong fails alone."""
    serving, most = call.serving, service.settings.past_items
    body: BatchBody = call.body
    asked = list(dict.fromkeys(body.user_ids))
    found = await asyncio.gather(*(_found(serving, user_id, service.settings) for user_id in asked))
    people = dict(zip(asked, found, strict=True))
    profiles = {user_id: one for user_id, one in people.items() if isinstance(one, Profile)}
    refused = {user_id: one for user_id, one in people.items() if not isinstance(one, Profile)}
    call.stages.mark("user")
    wants = await wanted(service, serving, body, body.rules)
    rankings = await ranked(serving, list(profiles.values()), wants)
    call.stages.mark("search")
    lists = {}
    for (user_id, profile), ranking in zip(profiles.items(), rankings, strict=True):
        lists[user_id] = listed(serving, most, profile, ranking, wants)
        await asyncio.sleep(0)  # many explanations are long work: others are answered in between
    return {
        "bundle": serving.bundle.bundle_id,
        "source": "batch",
        "unknown_items": unknown_items(serving.bundle, _named(body.rules)),
        "answers": [{"user_id": one, **(lists[one] if one in lists else refused[one])} for one in body.user_ids],
    }


async def _found(serving: Serving, user_id: str, settings: Settings) -> Profile | dict[str, str]:
    """The user's profile, or what a call for that user alone would be refused with."""
    try:
        return await serving.users.find(checked_id(user_id, "user_id", settings.id_max_chars))
    except ServiceError as error:
        return {"error": error.code, "detail": error.detail}


def _named(rules: Rules) -> list[str]:
    """The item ids that rules name."""
    chosen = [one.item_id for one in (*rules.boost, *rules.block) if one.item_id is not None]
    return [*(pin.item_id for pin in rules.pin), *chosen]
