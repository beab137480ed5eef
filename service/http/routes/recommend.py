"""GET /recommend/{user_id}, POST /recommend, /recommend/batch and /rank: items for a user, a session, several users."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from fastapi.routing import APIRoute

from index.recommending.profile import NO_ROWS, Profile
from index.recommending.session import Session, SessionWeights, session_profile, unknown_items
from service.bundles.loaded import LoadedBundle
from service.errors import ServiceError
from service.http.exploring import explored_version
from service.http.item_fields import field_warnings
from service.http.known_ids import is_known_user
from service.http.parameters import ArmQuery, Query
from service.http.request_cost import list_cost
from service.http.requests import (
    BatchBody,
    RankBody,
    RecommendQuery,
    SessionBody,
    UserListQuery,
    rank_body,
    with_limits,
)
from service.http.responses import BatchAnswer, RankAnswer, RecommendAnswer, SessionAnswer
from service.http.route import BatchPart, Request, check_id, count_arm, route, user_in_path
from service.http.routes.filtering import warnings_of
from service.http.routes.personal_lists import ListRequest, list_request, rank_profiles, render_list
from service.ranking.rules import Rules
from service.settings import HttpSettings, Settings
from service.state import Service


def routes(settings: Settings) -> list[APIRoute]:
    """The three routes of /recommend, and /rank."""
    return [
        route(
            "/recommend/{user_id}",
            recommend,
            query=with_limits(UserListQuery, settings),
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
            query=ArmQuery,
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
            query=ArmQuery,
            body=with_limits(BatchBody, settings),
            response=BatchAnswer,
            batch_of=lambda request: request.body.user_ids,
            cost_of=list_cost,
        ),
        route(
            "/rank",
            rank,
            method="POST",
            query=ArmQuery,
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
        listing = ListRequest(query, request.turn)
        ranking = await loaded.recommender.recommend(profile, query.k, exclude_seen=query.exclude_seen)
        await request.turn.begin()  # the wait for a search that several requests share is no computing of this one
    else:
        listing = await list_request(service, request, query)
        unknown = profile is loaded.users.unknown_profile  # whose response is one for all unknown users
        (ranking,) = await rank_profiles(service, loaded, [profile], ["" if unknown else request.id], listing)
    request.timings.mark("search")
    request.shown, request.explored = ranking.rows.tolist(), ranking.explored
    fields = await render_list(loaded, service.settings.past_items, profile, ranking, listing)
    if query.explain:
        request.timings.mark("explain")
    answer = {"bundle": loaded.bundle.bundle_id, **fields}
    if query.fields or listing.warnings:  # few requests have either
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
    listing = await list_request(service, request, body, body.rules)
    if candidates is not None:
        listing = listing.among(loaded.bundle.item_ids.rows(candidates))
    (ranking,) = await rank_profiles(
        service, loaded, [profile], [body.user_id or "\0".join(session_items.ids)], listing
    )
    request.timings.mark("search")
    request.shown, request.explored = ranking.rows.tolist(), ranking.explored
    return {
        "bundle": loaded.bundle.bundle_id,
        "user_id": body.user_id,
        "unknown_items": unknown_items(
            loaded.bundle, [*(candidates or ()), *session_items.ids, *_item_ids(body.rules)]
        ),
        **await render_list(loaded, settings.past_items, profile, ranking, listing),
        **warnings_of(listing.warnings, await field_warnings(loaded, body, request.shown)),
    }


async def batch(service: Service, request: Request[Query]) -> dict[str, Any]:
    """The best items for several users, by one search for each bundle that answers; an invalid user id fails alone.

    While an experiment runs, each user's own arm answers, and the user's entry names bundle, experiment and arm.
    """
    body, default, arms = request.body, request.loaded, request.arms or {}
    by_bundle: dict[LoadedBundle, list[str]] = {}
    for user_id in dict.fromkeys(body.user_ids):
        arm = arms.get(user_id)
        by_bundle.setdefault(default if arm is None else arm.loaded, []).append(user_id)
    answered: list[BatchPart] = []
    entries: dict[str, orjson.Fragment] = {}
    unknown: list[str] = []
    warnings: list[str] = []
    for loaded, user_ids in by_bundle.items():
        if len(by_bundle) > 1:
            request.begin_part(loaded, body.model_copy(update={"user_ids": tuple(user_ids)}))
        request.loaded = loaded
        part = await _batch_part(service, request, user_ids)
        answered.append(BatchPart(loaded, request.body.shape, request.computed_s))
        entries |= part.entries
        unknown += part.unknown_items
        warnings += part.warnings
    request.parts = answered if len(answered) > 1 else ()
    return {
        "bundle": default.bundle.bundle_id,
        "source": "batch",
        "unknown_items": list(dict.fromkeys(unknown)),
        "answers": [entries[user_id] for user_id in body.user_ids],
        **warnings_of(list(dict.fromkeys(warnings))),
    }


class _BatchPart(NamedTuple):
    """What one bundle answers to a batch."""

    entries: dict[str, orjson.Fragment]  # by user
    unknown_items: list[str]
    warnings: list[str]


async def _batch_part(service: Service, request: Request[Query], user_ids: Sequence[str]) -> _BatchPart:
    """The entries of these users, by one search."""
    loaded, max_past_items, arms = request.loaded, service.settings.past_items, request.arms or {}
    body: BatchBody = request.body
    found = await asyncio.gather(*(_profile_or_error(loaded, user_id, service.settings) for user_id in user_ids))
    by_user = dict(zip(user_ids, found, strict=True))
    profiles = {user_id: profile for user_id, profile in by_user.items() if isinstance(profile, Profile)}
    errors = {user_id: error for user_id, error in by_user.items() if not isinstance(error, Profile)}
    request.timings.mark("user")
    await request.turn.begin()
    listing = await list_request(service, request, body, body.rules)
    unknown = loaded.users.unknown_profile
    names = ["" if profile is unknown else user_id for user_id, profile in profiles.items()]
    rankings = await rank_profiles(service, loaded, list(profiles.values()), names, listing)
    request.timings.mark("search")
    entries = {
        user_id: orjson.Fragment(orjson.dumps({"user_id": user_id, **error})) for user_id, error in errors.items()
    }
    for (user_id, profile), ranking in zip(profiles.items(), rankings, strict=True):
        fields = await render_list(loaded, max_past_items, profile, ranking, listing)
        arm = arms.get(user_id)
        if arm is not None:
            count_arm(service.metrics, arm)
            fields = {"bundle": loaded.bundle.bundle_id, **arm.fields, **fields}
        # Rendered one by one: all at once would hold up the loop, and so would collecting garbage among all of them.
        entry = {"user_id": user_id, **fields}
        entries[user_id] = orjson.Fragment(orjson.dumps(entry, option=orjson.OPT_SERIALIZE_NUMPY))
        await request.turn.pause()
    shown = np.concatenate([NO_ROWS, *(ranking.rows for ranking in rankings)]).tolist()
    warnings = [*listing.warnings, *await field_warnings(loaded, body, shown)]
    return _BatchPart(entries, unknown_items(loaded.bundle, _item_ids(body.rules)), warnings)


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
