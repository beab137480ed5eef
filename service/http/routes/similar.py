"""GET /similar: what is near an item."""

from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.bundles.loaded import LoadedBundle
from service.errors import UnknownItemError
from service.http.requests import SimilarQuery, bounded
from service.http.responses import SimilarAnswer
from service.http.route import Call, route
from service.ranking.constraints import NO_CONSTRAINTS, filter_constraints
from service.ranking.profile import NO_ROWS
from service.ranking.recommender import excluded_rows
from service.settings import Settings
from service.state import Service

Array = np.ndarray[Any, Any]


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    return [
        route(
            "/similar/{item_id:path}",
            similar,
            query=bounded(SimilarQuery, settings),
            answer=SimilarAnswer,
            refusals=(404,),
            whose=lambda call: call.query.user_id,
            keep=True,
        )
    ]


async def similar(service: Service, call: Call[SimilarQuery]) -> dict[str, Any]:
    """The nearest items by cosine, over all the model learned (fused), the ID part, or one modality."""
    loaded, query = call.loaded, call.query
    row = known_row(loaded, call.id)
    constraints = (
        await filter_constraints(query.filters, loaded.bundle.item_ids, loaded.facet_store)
        if query.filtering
        else NO_CONSTRAINTS
    )
    without = np.concatenate([constraints.excluded, excluded_rows(call.profile, exclude_seen=True)])
    found = await loaded.similar_items.nearest(
        row, query.offset + query.k, query.by, without=without, within=constraints.within
    )
    call.timings.mark("search")
    rows, scores = (NO_ROWS, NO_ROWS) if found is None else (found[0][query.offset :], found[1][query.offset :])
    items = loaded.items.ranked(rows.tolist(), list(scores), first=query.offset + 1)
    if query.explain:
        for item, likeness in zip(items, _likeness(loaded, row, rows), strict=True):
            item["explanation"] = likeness
        call.timings.mark("explain")
    answer = {
        "bundle": loaded.bundle.bundle_id,
        "source": query.by,
        "item_id": call.id,
        "by": query.by,
        "missing": query.k - len(items),
        "items": items,
    }
    if found is None:
        answer["reason"] = f"the space {query.by} knows nothing of this item"
    return answer


def _likeness(loaded: LoadedBundle, row: int, rows: Array) -> list[dict[str, Any]]:
    cosines = loaded.similar_items.cosines(row, rows)
    shared = loaded.similar_items.users_in_common(row, rows)
    return [
        {"cosines": {name: values[i] for name, values in cosines.items()}, "users_in_common": users}
        for i, users in enumerate(shared)
    ]


def known_row(loaded: LoadedBundle, item_id: str) -> int:
    """The item's row; UnknownItemError where the bundle lacks it."""
    row = loaded.items.row(item_id)
    if row is None:
        raise UnknownItemError(f"item_id: this bundle has no item {item_id[:80]!r}")
    return row
