"""GET /items/{item_id} and its users, PUT and DELETE /items/{item_id}/hidden, GET /hidden: show and hide items."""

from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.errors import UnknownItemError
from service.http.catalogue import Known, known_items
from service.http.known_ids import is_known_item
from service.http.parameters import Query
from service.http.requests import HiddenQuery, ItemUsersQuery, with_k_limit
from service.http.responses import HiddenAnswer, HiddenList, ItemAnswer, ItemUsersAnswer
from service.http.route import Request, route
from service.http.routes.similar import known_row
from service.settings import RankingSettings
from service.state import Service


def routes(settings: RankingSettings) -> list[APIRoute]:
    """GET /items/{item_id}, its users and /hidden, and hiding and showing for admins."""
    hidden: dict[str, Any] = {"response": HiddenAnswer, "role": "admin", "errors": (404,), "is_known": is_known_item}
    return [
        route("/items/{item_id}", item, response=ItemAnswer, errors=(404,), is_known=is_known_item),
        route(
            "/items/{item_id}/users",
            users,
            query=with_k_limit(ItemUsersQuery, settings),
            response=ItemUsersAnswer,
            role="write",  # it names people
            errors=(404,),
            is_known=is_known_item,
        ),
        route("/items/{item_id}/hidden", hide, method="PUT", **hidden),
        route("/items/{item_id}/hidden", show, method="DELETE", **hidden),
        route("/hidden", all_hidden, query=with_k_limit(HiddenQuery, settings), response=HiddenList),
    ]


async def item(service: Service, request: Request[Query]) -> dict[str, Any]:
    """One item's metadata, popularity and embedding norms, and what is stored of it."""
    bundle, known = request.loaded.bundle, await _known(service, request)
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


async def _known(service: Service, request: Request[Any]) -> Known:
    """The item of the path; UnknownItemError where there is none."""
    (known,) = await known_items(service, request.loaded, [request.id])
    if known is None:
        known_row(request.loaded, request.id)  # UnknownItemError, unless the bundle has it
        raise UnknownItemError(f"item_id: item {request.id[:80]!r} was deleted")
    return known


async def users(service: Service, request: Request[ItemUsersQuery]) -> dict[str, Any]:
    """Who had the item in the data that the bundle was trained with, without people who were forgotten since."""
    loaded, query, known = request.loaded, request.query, await _known(service, request)
    rows = () if known.row is None else loaded.bundle.users_of(known.row)
    page = [loaded.bundle.user_ids[row] for row in rows[query.offset : query.offset + query.k]]
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "bundle",
        "item_id": request.id,
        "users": len(rows),
        "user_ids": [user_id for user_id in page if not loaded.users.is_forgotten(user_id)],
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
