"""Warnings about the fields that a request chose."""

from collections.abc import Sequence

from service.bundles.loaded import LoadedBundle
from service.http.requests import PagedQuery


async def field_warnings(loaded: LoadedBundle, query: PagedQuery, rows: Sequence[int]) -> dict[str, list[str]]:
    """The response's field `warnings`; nothing where the request's fields are right for a list of these rows."""
    fields = query.chosen_fields
    if fields is None:
        return {}
    warnings = await loaded.items.warnings(fields, rows, loaded.facet_store)
    return {"warnings": warnings} if warnings else {}
