"""GET /popular and /trending: what everybody likes, and what is on the rise."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.bundles.loaded import LoadedBundle
from service.events.trending import HOUR_S
from service.http.requests import PagedQuery, TrendingQuery, bounded
from service.http.responses import PopularAnswer, TrendingAnswer
from service.http.route import Call, route
from service.ranking.constraints import Constraints, filter_constraints
from service.ranking.diversity import BY_SCORE
from service.settings import Settings
from service.state import Service

Array = np.ndarray[Any, Any]

MOST_LOOKED_AT = 10_000  # risen items that filters may refuse before popular ones fill the list


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    return [
        route("/popular", popular, query=bounded(PagedQuery, settings), answer=PopularAnswer, keep=True),
        route("/trending", trending, query=bounded(TrendingQuery, settings), answer=TrendingAnswer),
    ]


async def popular(service: Service, call: Call[PagedQuery]) -> dict[str, Any]:
    """The most popular items, of late where the bundle knows when things happened."""
    loaded, query = call.loaded, call.query
    constraints = await filter_constraints(query.filters, loaded.bundle.item_ids, loaded.facet_store)
    (ranking,) = await loaded.ranker.rank(
        [None], query.k, query.offset, exclude_seen=False, constraints=constraints, order=BY_SCORE
    )
    items = _listed(loaded, ranking.rows.tolist(), list(ranking.scores), query.offset)
    return {"bundle": loaded.bundle.bundle_id, "source": "popular", "missing": query.k - len(items), "items": items}


async def trending(service: Service, call: Call[TrendingQuery]) -> dict[str, Any]:
    """The items with the most positive events, each event counting half after every half-life.

    Places that no event fills go to popular items with a score of 0; without any event the source is `popular`.
    """
    loaded, query, live = call.loaded, call.query, service.live
    hours = query.half_life_hours or service.settings.trending_half_life_hours
    constraints = await filter_constraints(query.filters, loaded.bundle.item_ids, loaded.facet_store)
    mask = constraints.allowed_mask(len(loaded.bundle.item_ids))
    mask[loaded.hidden] = False
    depth = query.offset + query.k
    risen = _risen(loaded, live.trending.ranked(hours * HOUR_S, live.now()), mask, depth)
    rows, scores = list(risen), list(risen.values())
    if len(rows) < depth:
        rest = await _rest(loaded, constraints, rows, depth - len(rows))
        rows, scores = rows + rest, scores + [0.0] * len(rest)
    items = _listed(loaded, rows[query.offset :], scores[query.offset :], query.offset)
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "trending" if risen else "popular",
        "half_life_hours": hours,
        "missing": query.k - len(items),
        "items": items,
    }


def _risen(loaded: LoadedBundle, ranked: Iterator[tuple[str, float]], mask: Array, n: int) -> dict[int, float]:
    """At most n of the rows that may be shown, and their scores, in the order given."""
    found: dict[int, float] = {}
    for item_id, score in islice(ranked, MOST_LOOKED_AT):
        row = loaded.items.row(item_id)
        if row is not None and mask[row]:
            found[row] = score
            if len(found) == n:
                break
    return found


async def _rest(loaded: LoadedBundle, constraints: Constraints, without: list[int], n: int) -> list[int]:
    """The n most popular other rows."""
    others = replace(constraints, excluded=np.concatenate([constraints.excluded, np.array(without, np.int64)]))
    (ranking,) = await loaded.ranker.rank([None], n, exclude_seen=False, constraints=others, order=BY_SCORE)
    rows: list[int] = ranking.rows.tolist()
    return rows


def _listed(loaded: LoadedBundle, rows: list[int], scores: list[Any], offset: int) -> list[dict[str, Any]]:
    items = loaded.items.ranked(rows, scores, first=offset + 1)
    counts = loaded.recommender.user_counts(np.array(rows, np.int64))
    return [{**item, "users": users} for item, users in zip(items, counts, strict=True)]
