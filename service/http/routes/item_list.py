"""GET /items: pages through the catalogue, by title, category and attributes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

from fastapi.routing import APIRoute
from pydantic import Field

from service.bundles.loaded import LoadedBundle
from service.http.catalogue import Known, known, matcher, trained_rows
from service.http.requests import PagedQuery, with_limits
from service.http.responses import CatalogueAnswer
from service.http.route import Request, route
from service.settings import Settings
from service.state import Service

MOST_SCANNED = 100_000  # trained items whose titles one request reads
MOST_STORED = 5_000  # stored items that one request reads
PAGE = 250
SCANNED, STORED = 2_500, 50  # items read, for a token
AFTER = r"^[ts]\d{1,15}$"


class CatalogueQuery(PagedQuery):
    """Which page of the catalogue."""

    after: str | None = Field(None, pattern=AFTER, description="`next` of the page before; it is read from there on")
    title: str = Field("", max_length=256, description="only items whose title begins so, in upper or lower case")

    @property
    def cheap(self) -> bool:
        return False


class _Place(NamedTuple):
    """How far the catalogue was read."""

    stage: str  # t: trained items, which come first; s: stored ones
    number: int  # t: the next row; s: the last position

    def __str__(self) -> str:
        return f"{self.stage}{self.number}"


def routes(settings: Settings) -> list[APIRoute]:
    """GET /items."""
    return [
        route(
            "/items",
            catalogue,
            query=with_limits(CatalogueQuery, settings),
            response=CatalogueAnswer,
            cost_of=_cost,
        )
    ]


def _cost(service: Service, request: Request[CatalogueQuery]) -> int:
    query = request.query
    scanned = min(MOST_SCANNED, len(request.loaded.bundle.item_ids)) // SCANNED if query.title else 0
    return 1 + scanned + (query.offset + query.k) // STORED


async def catalogue(service: Service, request: Request[CatalogueQuery]) -> dict[str, Any]:
    """All items that the service knows, also those that no list shows (`state`).

    A page that takes long to find ends early, with the place to go on from. Between pages a swap of the bundle or a
    change of an item may move it.
    """
    walk = _Walk(service, request.loaded, request.query)
    found: list[Known] = []
    to_skip = request.query.offset
    async for one in walk.items():
        if to_skip:
            to_skip -= 1
        else:
            found.append(one)
        if len(found) == request.query.k:
            break
    return {
        "bundle": request.loaded.bundle.bundle_id,
        "source": "catalogue",
        "items": [_shown(one) for one in found],
        "next": None if walk.ended else str(walk.place),
    }


def _shown(one: Known) -> dict[str, Any]:
    return {
        "item_id": one.item_id,
        **one.record,
        "trained": one.trained,
        "stored": one.entry is not None,
        "state": one.state,
    }


class _Walk:
    """Reads the catalogue from a place on; `place` is that after the last item, `ended` whether it was the last."""

    def __init__(self, service: Service, loaded: LoadedBundle, query: CatalogueQuery) -> None:
        self._service = service
        self._store = service.items.store
        self._loaded = loaded
        self._query = query
        self._matches = matcher(query.filters, query.title)
        self.place = _Place(query.after[0], int(query.after[1:])) if query.after else _Place("t", 0)
        self.ended = False

    async def items(self) -> AsyncIterator[Known]:
        """The items that match, until the end or until enough was read."""
        if self.place.stage == "t":
            async for one in self._trained():
                yield one
        if self.place.stage == "s":
            async for one in self._stored():
                yield one

    async def _trained(self) -> AsyncIterator[Known]:
        """Trained items that were never put: those that were come among the stored ones."""
        rows = await trained_rows(self._service, self._loaded, self._query.filters, self.place.number)
        for chunk in batched(rows[:MOST_SCANNED], PAGE):
            matching = await asyncio.to_thread(self._with_title, chunk) if self._query.title else chunk
            ids = [self._loaded.bundle.item_ids[row] for row in matching]
            for row, item_id, entry in zip(matching, ids, await self._store.entries(ids), strict=True):
                self.place = _Place("t", row + 1)
                one = known(self._service, self._loaded, item_id, row, entry)
                if entry is None and one is not None:
                    yield one
            self.place = _Place("t", chunk[-1] + 1)
        if len(rows) <= MOST_SCANNED:
            self.place = _Place("s", 0)

    def _with_title(self, rows: Sequence[int]) -> list[int]:
        items, ids = self._loaded.items, self._loaded.bundle.item_ids
        return [row for row in rows if self._matches(ids[row], items.full_record(row))]

    async def _stored(self) -> AsyncIterator[Known]:
        for _ in range(MOST_STORED // PAGE):
            page = await self._store.changes(self.place.number, PAGE)
            for change in page:
                self.place = _Place("s", change.position)
                row = self._loaded.items.row(change.item_id)
                one = known(self._service, self._loaded, change.item_id, row, change)
                if one is not None and self._matches(one.item_id, one.record):
                    yield one
            if len(page) < PAGE:
                self.ended = True
                return


def batched(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The rows in slices of this size."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
