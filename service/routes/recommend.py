"""GET /recommend: what to show a user."""

from collections.abc import Iterator
from typing import Any

from fastapi.routing import APIRoute

from service.profile import Profile
from service.recommender import Ranking
from service.routing import Call, route
from service.schemas import RecommendAnswer, RecommendQuery, limited
from service.settings import Settings
from service.state import Service, Serving


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    query = limited(RecommendQuery, settings)
    return [
        route(
            "/recommend/{user_id:path}",
            recommend,
            query=query,
            answer=RecommendAnswer,
            whose=lambda call: call.id,
            keep=True,
            impressions=True,
        )
    ]


async def recommend(service: Service, call: Call[RecommendQuery]) -> dict[str, Any]:
    """The best items for a user; for an unknown user the most popular ones, with `source` saying so."""
    serving, query, profile = call.serving, call.query, call.profile
    ranking = await serving.recommender.recommend(profile, query.k, exclude_seen=query.exclude_seen)
    call.stages.mark("search")
    items = serving.items.ranked(ranking.rows.tolist(), list(ranking.scores))
    if query.explain:
        for item, explanation in zip(
            items, _explanations(serving, service.settings.past_items, profile, ranking, query), strict=True
        ):
            item["explanation"] = explanation
        call.stages.mark("explain")
    return {
        "bundle": serving.bundle.bundle_id,
        "source": ranking.source,
        "user_id": call.id,
        "items": items,
    }


def _explanations(
    serving: Serving, most: int, profile: Profile | None, ranking: Ranking, query: RecommendQuery
) -> Iterator[dict[str, Any]]:
    recommender = serving.recommender
    if profile is None or ranking.source == "popular":
        return recommender.explain_popular(ranking.rows)
    return recommender.explain(
        profile, ranking, most=most, exclude_seen=query.exclude_seen, counterfactual=query.counterfactual
    )
