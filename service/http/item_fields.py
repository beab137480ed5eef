"""Warnings about the fields that a request chose."""

from collections.abc import Sequence

from service.bundles.loaded import LoadedBundle
from service.http.requests import PagedQuery


async def field_warnings(loaded: LoadedBundle, query: PagedQuery, rows: Sequence[int]) -> Sequence[str]:
    """Warnings about the request's fields, for a list of these rows."""
    fields = query.chosen_fields
    return () if fields is None else await loaded.items.warnings(fields, rows, loaded.facet_store)
