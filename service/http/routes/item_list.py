"""GET /items: pages through the catalogue, by words, title, category and attributes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

import orjson
from fastapi.routing import APIRoute
from pydantic import Field

from service.bundles.loaded import LoadedBundle
from service.http.catalogue import Known, Types, chosen_among, known, matcher, trained_rows
from service.http.item_fields import field_warnings
from service.http.requests import PagedQuery, with_limits
from service.http.responses import CatalogueAnswer
from service.http.route import Request, route
from service.http.routes.filtering import warnings_of
from service.items.item import ItemChange
from service.ranking.item_fields import Fields, render_fields
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

    q: str = Field(
        "",
        max_length=256,
        description="only items with each of these words in title or item id, in upper or lower case",
    )

    @property
    def searches(self) -> bool:
        """Whether titles are read, one after the other."""
        return bool(self.title or self.q.strip())

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
    scanned = min(MOST_SCANNED, len(request.loaded.bundle.item_ids)) // SCANNED if query.searches else 0
    return 1 + scanned + (query.offset + query.k) // STORED


async def catalogue(service: Service, request: Request[CatalogueQuery]) -> dict[str, Any]:
    """All items that the service knows, also those that no list shows (`state`).

    A page that takes long to find ends early, with the place to go on from. Between pages a swap of the bundle or a
    change of an item may move it.
    """
    query, loaded = request.query, request.loaded
    fields = query.chosen_fields
    walk = _Walk(service, loaded, query)
    found: list[Known] = []
    to_skip = query.offset
    async for one in walk.items():
        if to_skip:
            to_skip -= 1
        else:
            found.append(one)
        if len(found) == query.k:
            break
    rows = [one.row for one in found if one.row is not None]
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "catalogue",
        "items": [_shown(one, fields) for one in found],
        "next": None if walk.ended else str(walk.place),
        **warnings_of(walk.warnings, await field_warnings(loaded, query, rows)),
    }


def _shown(one: Known, fields: Fields | None) -> dict[str, Any]:
    chosen = one.record if fields is None else orjson.loads(render_fields(one.record, fields).in_list + b"}")
    stored = one.entry is not None
    return {**chosen, "trained": one.trained, "stored": stored, "state": one.state, "reason": one.reason}


class _Walk:
    """Reads the catalogue from a place on; `place` is that after the last item, `ended` whether it was the last."""

    def __init__(self, service: Service, loaded: LoadedBundle, query: CatalogueQuery) -> None:
        self._service = service
        self._store = service.items.store
        self._loaded = loaded
        self._query = query
        self._matches = matcher(query.filters, query.title, query.q)
        self.place = _Place(query.after[0], int(query.after[1:])) if query.after else _Place("t", 0)
        self.ended = False
        self.warnings: Sequence[str] = ()

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
        after = self.place.number
        rows, self.warnings = await trained_rows(self._service, self._loaded, self._query.filters, after)
        for chunk in batched(rows[:MOST_SCANNED], PAGE):
            matching = await asyncio.to_thread(self._with_words, chunk) if self._query.searches else chunk
            ids = [self._loaded.bundle.item_ids[row] for row in matching]
            for row, item_id, entry in zip(matching, ids, await self._store.entries(ids), strict=True):
                self.place = _Place("t", row + 1)
                one = known(self._service, self._loaded, item_id, row, entry)
                if entry is None and one is not None:
                    yield one
            self.place = _Place("t", chunk[-1] + 1)
        if len(rows) <= MOST_SCANNED:
            self.place = _Place("s", 0)

    def _with_words(self, rows: Sequence[int]) -> list[int]:
        items = self._loaded.items
        return [row for row in rows if self._matches(items.full_record(row))]

    async def _stored(self) -> AsyncIterator[Known]:
        types = await self._service.items.types()
        for _ in range(MOST_STORED // PAGE):
            page = await self._store.changes(self.place.number, PAGE)
            for change, chosen in zip(page, await self._chosen(page, types), strict=True):
                self.place = _Place("s", change.position)
                row = self._loaded.items.row(change.item_id)
                one = known(self._service, self._loaded, change.item_id, row, change)
                if chosen and one is not None and self._matches(one.record):
                    yield one
            if len(page) < PAGE:
                self.ended = True
                return

    async def _chosen(self, page: Sequence[ItemChange], types: Types) -> Sequence[bool]:
        """Which of the changes are of items that match the filter."""
        items = [change.item for change in page if change.item is not None]
        now = self._service.live.now()
        chosen = iter(await asyncio.to_thread(chosen_among, items, self._query.parsed_filter, types, now))
        return [change.item is not None and next(chosen) for change in page]


def batched(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The rows in slices of this size."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
