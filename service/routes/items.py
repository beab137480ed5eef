"""GET /items and /popular: what the service knows of an item, and what everybody likes."""

from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.routes.similar import known_row
from service.routing import Call, route
from service.schemas import ItemAnswer, ListQuery, PopularAnswer, Query, Refusal, limited
from service.settings import Settings
from service.state import Service


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    unknown: dict[int | str, Any] = {404: {"model": Refusal}}
    return [
        route("/items/{item_id:path}", item, answer=ItemAnswer, responses=unknown),
        route("/popular", popular, query=limited(ListQuery, settings), answer=PopularAnswer),
    ]


async def item(service: Service, call: Call[Query]) -> dict[str, Any]:
    """All that the bundle holds of one item."""
    serving, bundle = call.serving, call.serving.bundle
    row = known_row(serving, call.id)
    norms = {name: np.linalg.norm(part[row]) for name, part in bundle.item_parts.items()}
    return {
        "bundle": bundle.bundle_id,
        "source": "bundle",
        "item": serving.items.everything(row),
        "users": len(bundle.users_of(row)),
        "part_norms": norms,
    }


async def popular(service: Service, call: Call[ListQuery]) -> dict[str, Any]:
    """The most popular items, of late where the bundle knows when things happened."""
    serving = call.serving
    ranking = serving.recommender.popular(call.query.k)
    items = serving.items.ranked(ranking.rows.tolist(), list(ranking.scores))
    for shown, users in zip(items, serving.recommender.counts(ranking.rows), strict=True):
        shown["users"] = users
    return {
        "bundle": serving.bundle.bundle_id,
        "source": ranking.source,
        "items": items,
    }
