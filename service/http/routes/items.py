"""GET /items: what the service knows of an item; PUT and DELETE hide and show it at once, on every replica."""

from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.http.requests import limited
from service.http.responses import HiddenAnswer, HiddenList, HiddenQuery, ItemAnswer, Query
from service.http.route import Call, route
from service.http.routes.similar import known_row
from service.settings import Settings
from service.state import Service

HIDDEN = "/items/{item_id:path}/hidden"


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    return [
        route("/items/{item_id:path}", item, answer=ItemAnswer, refusals=(404,)),
        route("/items/{item_id:path}/hidden", hide, method="PUT", answer=HiddenAnswer, role="admin", refusals=(404,)),
        route(
            "/items/{item_id:path}/hidden", show, method="DELETE", answer=HiddenAnswer, role="admin", refusals=(404,)
        ),
        route("/hidden", all_hidden, query=limited(HiddenQuery, settings), answer=HiddenList),
    ]


async def item(service: Service, call: Call[Query]) -> dict[str, Any]:
    """All that the bundle holds of one item."""
    loaded, bundle = call.loaded, call.loaded.bundle
    row = known_row(loaded, call.id)
    norms = {name: np.linalg.norm(part[row]) for name, part in bundle.item_parts.items()}
    return {
        "bundle": bundle.bundle_id,
        "source": "bundle",
        "item": loaded.items.full_record(row),
        "users": len(bundle.users_of(row)),
        "part_norms": norms,
        "hidden": call.id in service.live.hidden.ids,
    }


async def hide(service: Service, call: Call[Query]) -> dict[str, Any]:
    """Show the item to nobody any more, from this answer on, whatever bundle serves."""
    known_row(call.loaded, call.id)
    return await _set(service, call, hidden=True)


async def show(service: Service, call: Call[Query]) -> dict[str, Any]:
    """Let the item be shown again; no error where it was not hidden."""
    if call.id not in service.live.hidden.ids:
        known_row(call.loaded, call.id)
    return await _set(service, call, hidden=False)


async def _set(service: Service, call: Call[Query], *, hidden: bool) -> dict[str, Any]:
    await service.live.hidden.set(call.id, hidden=hidden)
    return {"bundle": call.loaded.bundle.bundle_id, "source": "hidden", "item_id": call.id, "hidden": hidden}


async def all_hidden(service: Service, call: Call[HiddenQuery]) -> dict[str, Any]:
    """The hidden items, by id."""
    ids = sorted(service.live.hidden.ids)
    return {
        "bundle": call.loaded.bundle.bundle_id,
        "source": "hidden",
        "total": len(ids),
        "item_ids": ids[call.query.offset : call.query.offset + call.query.k],
    }
