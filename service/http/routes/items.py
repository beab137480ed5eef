"""GET /items/{item_id}, PUT and DELETE /items/{item_id}/hidden, GET /hidden: show, hide and list items."""

from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.errors import UnknownItemError
from service.http.catalogue import Known, known_items
from service.http.known_ids import is_known_item
from service.http.parameters import Query
from service.http.requests import HiddenQuery, with_k_limit
from service.http.responses import HiddenAnswer, HiddenList, ItemAnswer
from service.http.route import Request, route
from service.http.routes.similar import known_row
from service.settings import RankingSettings
from service.state import Service


def routes(settings: RankingSettings) -> list[APIRoute]:
    """GET /items and /hidden, and hiding and showing for admins."""
    hidden: dict[str, Any] = {"response": HiddenAnswer, "role": "admin", "errors": (404,), "is_known": is_known_item}
    return [
        route("/items/{item_id}", item, response=ItemAnswer, errors=(404,), is_known=is_known_item),
        route("/items/{item_id}/hidden", hide, method="PUT", **hidden),
        route("/items/{item_id}/hidden", show, method="DELETE", **hidden),
        route("/hidden", all_hidden, query=with_k_limit(HiddenQuery, settings), response=HiddenList),
    ]


async def item(service: Service, request: Request[Query]) -> dict[str, Any]:
    """One item's metadata, popularity and embedding norms, and what is stored of it."""
    loaded, bundle = request.loaded, request.loaded.bundle
    (known,) = await known_items(service, loaded, [request.id])
    if known is None:
        known_row(loaded, request.id)  # UnknownItemError, unless the bundle has it
        raise UnknownItemError(f"item_id: item {request.id[:80]!r} was deleted")
    parts = {} if known.row is None else bundle.item_parts
    return {
        "bundle": bundle.bundle_id,
        "source": "bundle" if known.entry is None else "stored",
        "item": known.record,
        "users": 0 if known.row is None else len(bundle.users_of(known.row)),
        "part_norms": {name: np.linalg.norm(part[known.row]) for name, part in parts.items()},
        "hidden": request.id in service.live.hidden.ids,
        "trained": known.trained,
        "state": known.state,
        "reason": known.reason or service.catalogue.encoding_problem(request.id),
        "stored": _stored_fields(known),
    }


def _stored_fields(known: Known) -> dict[str, Any] | None:
    if known.entry is None or known.entry.item is None:
        return None
    item = known.entry.item
    return {
        "position": known.entry.position,
        "categories": item.categories,
        "text": item.text,
        "features": {modality: len(values) for modality, values in item.features.items()},
        "available": item.available,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


async def hide(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Hide the item from every list, from this response on, in this bundle and later ones."""
    known_row(request.loaded, request.id)
    return await _set_hidden(service, request, hidden=True)


async def show(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Show the item again; no error where it was not hidden."""
    if request.id not in service.live.hidden.ids:
        known_row(request.loaded, request.id)
    return await _set_hidden(service, request, hidden=False)


async def _set_hidden(service: Service, request: Request[Query], *, hidden: bool) -> dict[str, Any]:
    await service.live.set_hidden(request.id, hidden=hidden)
    return {"bundle": request.loaded.bundle.bundle_id, "source": "hidden", "item_id": request.id, "hidden": hidden}


async def all_hidden(service: Service, request: Request[HiddenQuery]) -> dict[str, Any]:
    """The ids of the hidden items, ascending."""
    ids = sorted(service.live.hidden.ids)
    return {
        "bundle": request.loaded.bundle.bundle_id,
        "source": "hidden",
        "total": len(ids),
        "item_ids": ids[request.query.offset : request.query.offset + request.query.k],
    }
