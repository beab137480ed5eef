"""GET /users: pages through the users whom training knew, by the beginning of their ids."""

import asyncio
from typing import Any

from fastapi.routing import APIRoute
from pydantic import Field

from service.bundles.loaded import LoadedBundle
from service.http.requests import ListQuery, with_k_limit
from service.http.responses import UsersAnswer
from service.http.route import Request, route
from service.settings import Settings
from service.state import Service

CHUNK = 65_536  # ids compared in one step
MOST_SCANNED = 16 * CHUNK  # ids that one request compares
SCANNED, FOUND = 100_000, 250  # ids compared, and users listed, for a token


class UsersQuery(ListQuery):
    """Which page of the users."""

    prefix: str = Field("", max_length=256, description="only users whose id begins exactly so")
    after: str | None = Field(
        None, pattern=r"^\d{1,15}$", description="`next` of the page before; the list goes on from there"
    )


def routes(settings: Settings) -> list[APIRoute]:
    """GET /users. A key of role `read` may be in a browser, and must not enumerate people: it needs `write`."""
    return [
        route(
            "/users",
            listed,
            query=with_k_limit(UsersQuery, settings),
            response=UsersAnswer,
            role="write",
            cost_of=_cost,
        )
    ]


def _cost(_: Service, request: Request[UsersQuery]) -> int:
    query = request.query
    scanned = min(MOST_SCANNED, len(request.loaded.bundle.user_ids)) // SCANNED if query.prefix else 0
    return 1 + scanned + query.k // FOUND


async def listed(_: Service, request: Request[UsersQuery]) -> dict[str, Any]:
    """Users of the bundle that serves, in its order, without those who were forgotten.

    A page that takes long to find ends early, with the place to go on from. Another bundle has another order.
    """
    query, loaded = request.query, request.loaded
    start = int(query.after or 0)
    found, place = await asyncio.to_thread(_find, loaded, query.prefix, start, query.k)
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "bundle",
        "users": found,
        "next": str(place) if place < len(loaded.bundle.user_ids) else None,
    }


def _find(loaded: LoadedBundle, prefix: str, start: int, k: int) -> tuple[list[dict[str, Any]], int]:
    """At most k users from this row on, and the row to go on from."""
    ids, offsets = loaded.bundle.user_ids, loaded.bundle.seen_offsets
    begins = prefix.encode(errors="surrogatepass")  # no stored id has a lone surrogate
    end = min(len(ids), start + MOST_SCANNED)
    found: list[dict[str, Any]] = []
    for first in range(start, end, CHUNK):
        for row in ids.strings.starting_with(begins, first, min(first + CHUNK, end)).tolist():
            user_id = ids[row]
            if loaded.users.is_forgotten(user_id):
                continue
            if len(found) == k:
                return found, row
            found.append({"user_id": user_id, "items": int(offsets[row + 1] - offsets[row])})
    return found, max(start, end)
