"""The filters of a list: the constraints that they set, and the warnings that the response carries."""

from collections.abc import Sequence
from typing import Any

from service.http.requests import PagedQuery
from service.http.route import Request
from service.ranking.constraints import NO_CONSTRAINTS, Constraints, filter_constraints
from service.state import Service


async def query_constraints(service: Service, request: Request[Any], query: PagedQuery) -> Constraints:
    """The constraints that the filters of a query or body set. InvalidRequestError where one cannot be applied."""
    if not query.has_filters:
        return NO_CONSTRAINTS
    loaded = request.loaded
    return await filter_constraints(
        query.filters, loaded.bundle.item_ids, loaded.facet_store, now=service.live.now(), turn=request.turn
    )


def warnings_of(*groups: Sequence[str]) -> dict[str, list[str]]:
    """The response's field `warnings`, where there are any."""
    warnings = [one for group in groups for one in group]
    return {"warnings": warnings} if warnings else {}
