"""GET /similar: what is near an item."""

from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.errors import UnknownItemError
from service.routing import Call, route
from service.schemas import Refusal, SimilarAnswer, SimilarQuery, limited
from service.settings import Settings
from service.state import Service, Serving

Array = np.ndarray[Any, Any]


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    query = limited(SimilarQuery, settings)
    unknown: dict[int | str, Any] = {404: {"model": Refusal}}
    return [route("/similar/{item_id:path}", similar, query=query, answer=SimilarAnswer, responses=unknown, keep=True)]


async def similar(service: Service, call: Call[SimilarQuery]) -> dict[str, Any]:
    """The nearest items by cosine, over all the model learned (fused), the ID part, or one modality."""
    serving, query = call.serving, call.query
    row = known_row(serving, call.id)
    rows, scores = await serving.neighbours.nearest(row, query.k, query.by)
    call.stages.mark("search")
    items = serving.items.ranked(rows.tolist(), list(scores))
    if query.explain:
        for item, likeness in zip(items, _likeness(serving, row, rows), strict=True):
            item["explanation"] = likeness
        call.stages.mark("explain")
    return {
        "bundle": serving.bundle.bundle_id,
        "source": query.by,
        "item_id": call.id,
        "by": query.by,
        "items": items,
    }


def _likeness(serving: Serving, row: int, rows: Array) -> list[dict[str, Any]]:
    cosines = serving.neighbours.cosines(row, rows)
    shared = serving.neighbours.users_in_common(row, rows)
    return [
        {"cosines": {name: values[i] for name, values in cosines.items()}, "users_in_common": users}
        for i, users in enumerate(shared)
    ]


def known_row(serving: Serving, item_id: str) -> int:
    """The item's row; UnknownItemError where the bundle lacks it."""
    row = serving.items.row(item_id)
    if row is None:
        raise UnknownItemError(f"item_id: this bundle has no item {item_id[:80]!r}")
    return row
