"""PUT, PATCH and DELETE /items/{item_id}, POST /items, and /items/schema: change the stored items."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from index.attribute_types import AttributeType
from service.errors import InvalidRequestError
from service.http.known_ids import is_known_item
from service.http.parameters import Query
from service.http.responses import ItemsAnswer, SchemaAnswer
from service.http.route import Request, check_id, route
from service.items.intake import Accepted
from service.items.item import MOST_ATTRIBUTES, GivenItem, Name
from service.items.patch import ItemPatch
from service.settings import Settings
from service.state import Service

ITEMS_FOR_A_TOKEN = 25
TOO_MANY = 507


class ItemOfSeveral(GivenItem):
    """An item, with its id."""

    item_id: str = Field(min_length=1)


class GivenTypes(BaseModel):
    """Types of attributes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: Annotated[dict[Name, AttributeType], Field(max_length=MOST_ATTRIBUTES)] = Field(
        description="types by name; attributes that are not named keep theirs"
    )


def routes(settings: Settings) -> list[APIRoute]:
    """The changes, for callers that may write, and the schema."""
    several = Annotated[list[ItemOfSeveral], Field(max_length=settings.items_max_batch, fail_fast=True)]
    one: dict[str, Any] = {
        "response": ItemsAnswer, "status": 202, "role": "write", "is_known": is_known_item, "errors": (409, TOO_MANY),
    }  # fmt: skip
    return [
        route("/items/{item_id}", put, method="PUT", body=GivenItem, **one),
        route("/items/{item_id}", patch, method="PATCH", body=ItemPatch, **one),
        route("/items/{item_id}", delete, method="DELETE", **one),
        route(
            "/items",
            put_several,
            method="POST",
            body=several,
            lines=True,
            response=ItemsAnswer,
            status=202,
            role="write",
            errors=(409, TOO_MANY),
            cost_of=lambda _, request: max(1, len(request.body) // ITEMS_FOR_A_TOKEN),
        ),
        route("/items/schema", schema, response=SchemaAnswer),
        route(
            "/items/schema",
            declare,
            method="PUT",
            body=GivenTypes,
            response=SchemaAnswer,
            status=202,
            role="write",
            errors=(409,),
        ),
    ]


async def put(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Create or replace an item; it is durable once this is answered. An item that is stored exactly so is unchanged.

    A value of another type than its attribute (GET /items/schema) is refused.
    """
    return _answer(request, await service.items.put({request.id: request.body}))


async def patch(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Change some fields of an item. One that training saw and that was never put begins as the bundle has it."""
    return _answer(request, await service.items.patch(request.id, request.body))


async def delete(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Delete an item: no list shows it, also where training saw it, until it is put again."""
    return _answer(request, await service.items.delete(request.id))


async def put_several(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Create or replace several items, all or none: a JSON list, or NDJSON with one item a line."""
    given = _by_id(request.body, service.settings.id_max_chars)
    await request.turn.begin()
    request.turn.end()  # not held while the store is written
    return _answer(request, await service.items.put(given))


def _by_id(items: Sequence[ItemOfSeveral], longest_id: int) -> Mapping[str, GivenItem]:
    given: dict[str, GivenItem] = {}
    for i, item in enumerate(items):
        check_id(item.item_id, f"body: {i}.item_id", longest_id)
        if item.item_id in given:
            raise InvalidRequestError(f"body: {i}.item_id: {item.item_id[:80]!r} appears twice")
        given[item.item_id] = item
    return given


def _answer(request: Request[Query], accepted: Accepted) -> dict[str, Any]:
    return {
        "bundle": request.loaded.bundle.bundle_id,
        "source": "items",
        "position": accepted.position,
        "changed": len(accepted.changed),
        "unchanged": accepted.n_unchanged,
    }


async def schema(service: Service, request: Request[Query]) -> dict[str, Any]:
    """The type of each attribute that is known."""
    return {
        "bundle": request.loaded.bundle.bundle_id,
        "source": "items",
        "attributes": dict(sorted((await service.items.types()).items())),
    }


async def declare(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Declare types of attributes before their first values, or correct them where no stored value contradicts."""
    await service.items.declare(request.body.attributes)
    return await schema(service, request)
