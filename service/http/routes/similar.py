"""GET /similar/{item_id}: the nearest items to an item."""

from typing import Any

import numpy as np
import orjson
from fastapi.routing import APIRoute

from index.recommending.profile import NO_ROWS, excluded_rows
from service.bundles.loaded import LoadedBundle
from service.errors import UnknownItemError
from service.http.item_fields import field_warnings
from service.http.known_ids import is_known_item
from service.http.request_cost import list_cost
from service.http.requests import SimilarQuery, with_limits
from service.http.responses import SimilarAnswer
from service.http.route import Request, route
from service.http.routes.filtering import query_constraints, warnings_of
from service.ranking.turns import Turn
from service.settings import Settings
from service.state import Service

Array = np.ndarray[Any, Any]


def routes(settings: Settings) -> list[APIRoute]:
    """GET /similar."""
    return [
        route(
            "/similar/{item_id}",
            similar,
            query=with_limits(SimilarQuery, settings),
            response=SimilarAnswer,
            errors=(404,),
            user_of=lambda request: request.query.user_id,
            cost_of=list_cost,
            cacheable=True,
            is_known=is_known_item,
        )
    ]


async def similar(service: Service, request: Request[SimilarQuery]) -> dict[str, Any]:
    """The nearest items by cosine of the whole embedding (fused), its ID part, or one modality's part."""
    loaded, query = request.loaded, request.query
    row = known_row(loaded, request.id)
    await request.turn.begin()
    constraints = await query_constraints(service, request, query)
    without = np.concatenate([constraints.excluded, excluded_rows(request.profile, exclude_seen=True)])
    nearest = await loaded.similar_items.nearest(
        row, query.offset + query.k, query.by, without=without, within=constraints.within
    )
    if constraints.within is None:
        await request.turn.begin()  # the wait for a search that several requests share is no computing of this one
    else:
        await request.turn.pause()
    request.timings.mark("search")
    rows, scores = (NO_ROWS, NO_ROWS) if nearest is None else (nearest[0][query.offset :], nearest[1][query.offset :])
    more = await _similarities(loaded, row, rows, request.turn) if query.explain else None
    if query.explain:
        request.timings.mark("explain")
    answer = {
        "bundle": loaded.bundle.bundle_id,
        "source": query.by,
        "item_id": request.id,
        "by": query.by,
        "missing": query.k - len(rows),
        "items": loaded.items.ranked(
            rows.tolist(), scores, first=query.offset + 1, more=more, fields=query.chosen_fields
        ),
        **warnings_of(constraints.warnings, await field_warnings(loaded, query, rows.tolist())),
    }
    if nearest is None:
        answer["reason"] = f"this item has no vector in the space {query.by}"
    return answer


async def _similarities(loaded: LoadedBundle, row: int, rows: Array, turn: Turn) -> list[bytes]:
    """For each of the rows the field `explanation`."""
    cosines = loaded.similar_items.cosines(row, rows)
    shared = await turn.run(loaded.similar_items.users_in_common(row, rows))
    told = [
        {"cosines": {name: values[i] for name, values in cosines.items()}, "users_in_common": users}
        for i, users in enumerate(shared)
    ]
    return [b',"explanation":' + orjson.dumps(one, option=orjson.OPT_SERIALIZE_NUMPY) for one in told]


def known_row(loaded: LoadedBundle, item_id: str) -> int:
    """The item's row; UnknownItemError where the bundle lacks the item."""
    row = loaded.items.row(item_id)
    if row is None:
        reason = loaded.living.not_ranked.get(item_id)
        why = (
            f"item {item_id[:80]!r} is in no list: {reason}" if reason else f"this bundle has no item {item_id[:80]!r}"
        )
        raise UnknownItemError(f"item_id: {why}")
    return row
