"""GET /bundles/compare: two bundles of the registry side by side."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi.routing import APIRoute
from pydantic import Field

from index.bundle import Bundle
from index.comparison import common_share
from index.side_by_side import Side
from service.bundles.bundle_errors import UnreadableBundleError
from service.bundles.comparing import SAMPLE, Comparison, UserList
from service.bundles.loaded import LoadedBundle
from service.http.comparison_responses import ComparisonAnswer
from service.http.parameters import Query
from service.http.route import Request, check_id, route
from service.http.routes.bundles import SOURCE
from service.items.image_urls import ImageUrls, image_urls
from service.state import Service

SEARCHES = 2 * SAMPLE // 10  # tokens: a search takes a tenth of one at 20,000 items
EXAMPLES = 5  # of items that one bundle alone has
PAST = 8  # items of the user's past
SHOWN = ("title", "category")


class ComparisonQuery(Query):
    """Which bundles are compared, and for whom."""

    a: str = Field(max_length=160, description="the id of a bundle")
    b: str = Field(max_length=160, description="the id of another one")
    user_id: str | None = Field(None, min_length=1, max_length=512, description="whose two lists are shown")
    k: int = Field(20, ge=1, le=100, description="length of the lists")


def routes() -> list[APIRoute]:
    """GET /bundles/compare, for admins."""
    return [
        route(
            "/bundles/compare",
            compare,
            query=ComparisonQuery,
            response=ComparisonAnswer,
            role="admin",
            cost_of=lambda _, __: SEARCHES,
            errors=(404, 409),
        )
    ]


async def compare(service: Service, request: Request[ComparisonQuery]) -> dict[str, Any]:
    """Metrics, sizes, agreement of the lists for a sample of users, and one user's two lists.

    The bundles need not serve; what serves is not disturbed. 409 `unreadable_bundle` where one cannot be opened, 429
    `comparing` where one comparison runs and another one waits.
    """
    query, loaded = request.query, request.loaded
    if query.user_id is not None:
        check_id(query.user_id, "user_id", service.settings.id_max_chars)
    found = await service.bundles.comparison.compare(
        query.a, query.b, k=query.k, user_id=query.user_id, hidden=lambda: _hidden_ids(loaded)
    )
    serving = loaded.bundle.bundle_id
    return {"bundle": serving, "source": SOURCE, "k": query.k} | await asyncio.to_thread(
        _rendered, found, query.k, query.user_id, serving, image_urls(service.settings.images)
    )


def _hidden_ids(loaded: LoadedBundle) -> list[str]:
    return [loaded.bundle.item_ids[row] for row in loaded.hidden.tolist()]


def _rendered(found: Comparison, k: int, user_id: str | None, serving: str, urls: ImageUrls) -> dict[str, Any]:
    both, (a, b) = found.side_by_side, found.bundles
    try:
        return {
            "shared_users": both.shared_users,
            "shared_items": both.shared_items,
            "sampled_users": both.sampled_users,
            "overlap": both.overlap,
            "rank_correlation": both.rank_correlation,
            "a": _bundle(a, both.a, serving, urls),
            "b": _bundle(b, both.b, serving, urls),
            "user": None if found.lists is None or user_id is None else _user(found, found.lists, k, user_id, urls),
        }
    except (ValueError, KeyError) as error:  # of metadata that are no JSON, or lack a field
        raise UnreadableBundleError(f"the items of {a.bundle_id} or {b.bundle_id} cannot be read: {error}") from error


def _bundle(bundle: Bundle, side: Side, serving: str, urls: ImageUrls) -> dict[str, Any]:
    manifest = bundle.manifest
    copied = ("bundle_id", "model", "created_at", "metrics", "n_users", "n_items", "n_interactions")
    return {name: getattr(manifest, name) for name in copied} | {
        "serves": bundle.bundle_id == serving,
        "bytes": bundle.file_bytes,
        "shared_bytes": bundle.shared_bytes,
        "only_users": side.only_users,
        "only_items": len(side.only_items),
        "only_items_examples": [_item(bundle, row, urls) for row in side.only_items[:EXAMPLES].tolist()],
        "shown_items": side.shown_items,
        "coverage": side.coverage,
    }


def _user(found: Comparison, lists: tuple[UserList, UserList], k: int, user_id: str, urls: ImageUrls) -> dict[str, Any]:
    (a, b), (list_a, list_b) = found.bundles, lists
    ids_a, ids_b = _ids(a, list_a.rows), _ids(b, list_b.rows)
    bundle, past = (a, list_a.past) if len(list_a.past) else (b, list_b.past)
    return {
        "user_id": user_id,
        "past": [_item(bundle, row, urls) for row in past[::-1][:PAST].tolist()],
        "overlap": common_share(ids_a[:k], ids_b[:k]),
        "a": {"source": list_a.source, "items": [_listed(*one, ids_b, b) for one in _first(a, list_a, k, urls)]},
        "b": {"source": list_b.source, "items": [_listed(*one, ids_a, a) for one in _first(b, list_b, k, urls)]},
    }


def _first(bundle: Bundle, chosen: UserList, k: int, urls: ImageUrls) -> Iterator[tuple[dict[str, Any], int, float]]:
    """The first k items of the list, each with its rank and score."""
    pairs = zip(chosen.rows[:k].tolist(), chosen.scores[:k].tolist(), strict=True)
    return ((_item(bundle, row, urls), rank, score) for rank, (row, score) in enumerate(pairs, 1))


def _listed(item: dict[str, Any], rank: int, score: float, others: Sequence[str], other: Bundle) -> dict[str, Any]:
    item_id = item["item_id"]
    other_rank = others.index(item_id) + 1 if item_id in others else None
    more = {"other_rank": other_rank, "other_has": other.item_ids.row(item_id) is not None}
    return item | {"rank": rank, "score": score} | more


def _item(bundle: Bundle, row: int, urls: ImageUrls) -> dict[str, Any]:
    record = bundle.item(row)
    return {"item_id": bundle.item_ids[row], **{name: record[name] for name in SHOWN}, "image": urls(record["image"])}


def _ids(bundle: Bundle, rows: Any) -> list[str]:
    return [bundle.item_ids[row] for row in rows.tolist()]
