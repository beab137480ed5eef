"""GET /map: the items on a map in two dimensions, as the trainer placed them."""

from typing import Annotated, Any, Literal

from fastapi.routing import APIRoute
from pydantic import Field, create_model

from service.catalogue.catalogue_map import MapQuery as Shown
from service.errors import NoMapError, TooCostlyError
from service.http.parameters import Query
from service.http.responses import MapAnswer
from service.http.route import Request, route
from service.settings import Settings
from service.state import Service

FIRST_FORMAT = 5  # of bundles that may have a map
MOST_ITEMS = 50_000
PLACED = 500  # items, for a token


class MapQuery(Query):
    """How many items of the map, and which in any case."""

    k: int = Field(20_000, ge=0, le=MOST_ITEMS, description="at most so many items, evenly thinned; popular ones stay")
    by: Literal["category", "cluster"] | None = Field(
        None, description="what groups are: unset: categories, where items have any, else clusters of the embeddings"
    )
    item_id: tuple[str, ...] = Field((), description="items that are there beside the k; may be repeated")


def routes(settings: Settings) -> list[APIRoute]:
    """GET /map."""
    named = Field((), max_length=settings.entries_max, fail_fast=True)
    fields: dict[str, Any] = {"item_id": (Annotated[tuple[str, ...], named], MapQuery.model_fields["item_id"])}
    query = create_model("MapQuery", __base__=MapQuery, __doc__=MapQuery.__doc__, **fields)
    return [route("/map", item_map, query=query, response=MapAnswer, cost_of=_cost, errors=(404,))]


def _cost(service: Service, request: Request[MapQuery]) -> int:
    n_items = min(request.query.k, request.loaded.bundle.manifest.n_items)
    cost, limit = 1 + (n_items + len(request.query.item_id)) // PLACED, service.settings.request_cost_max
    if cost > limit:
        raise TooCostlyError(
            f"this request costs {cost}, the limit is {limit} (RECO_REQUEST_COST_MAX): expected a smaller k"
        )
    return cost


async def item_map(service: Service, request: Request[MapQuery]) -> dict[str, Any]:
    """Places and groups of items, in columns; hidden items are left out, and so are items newer than the bundle."""
    loaded, query = request.loaded, request.query
    shown_map = loaded.trained.map
    if shown_map is None:
        raise NoMapError(_why_none(loaded.bundle.bundle_id, loaded.bundle.manifest.format))
    facets = await loaded.facet_store.facets()
    shown = Shown(query.k, query.by, frozenset(query.item_id))
    fields = await shown_map.rendered(facets, loaded.hidden, shown)
    return {"bundle": loaded.bundle.bundle_id, "source": "map", "map": fields}


def _why_none(bundle_id: str, bundle_format: int) -> str:
    why = "with --no-map" if bundle_format >= FIRST_FORMAT else f"in format {bundle_format}, before bundles had maps"
    return f"bundle {bundle_id} has no map: it was exported {why}; export or retrain to have one"
