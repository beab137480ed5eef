"""GET /popular and /trending: what everybody likes, and what is on the rise."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from service.events.trending import HOUR_S
from service.http.requests import PagedQuery, TrendingQuery, bounded
from service.http.responses import PopularAnswer, TrendingAnswer
from service.http.route import Call, route
from service.ranking.constraints import Terms, filtered
from service.ranking.diversity import BY_SCORE
from service.settings import Settings
from service.state import Service, Serving

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
    serving, query = call.serving, call.query
    terms = await filtered(query.filters, serving.bundle.item_ids, serving.catalogue)
    (ranking,) = await serving.ranker.rank(
        [None], query.k, query.offset, exclude_seen=False, terms=terms, order=BY_SCORE
    )
    items = _listed(serving, ranking.rows.tolist(), list(ranking.scores), query.offset)
    return {"bundle": serving.bundle.bundle_id, "source": "popular", "missing": query.k - len(items), "items": items}


async def trending(service: Service, call: Call[TrendingQuery]) -> dict[str, Any]:
    """The items with the most positive events, each event counting half after every half-life.

    Places that no event fills go to popular items with a score of 0; without any event the source is `popular`.
    """
    serving, query, live = call.serving, call.query, service.live
    hours = query.half_life_hours or service.settings.trending_half_life_hours
    terms = await filtered(query.filters, serving.bundle.item_ids, serving.catalogue)
    mask = terms.admits(len(serving.bundle.item_ids))
    mask[serving.hidden] = False
    depth = query.offset + query.k
    risen = _risen(serving, live.trending.ranked(hours * HOUR_S, live.now()), mask, depth)
    rows, scores = list(risen), list(risen.values())
    if len(rows) < depth:
        rest = await _rest(serving, terms, rows, depth - len(rows))
        rows, scores = rows + rest, scores + [0.0] * len(rest)
    items = _listed(serving, rows[query.offset :], scores[query.offset :], query.offset)
    return {
        "bundle": serving.bundle.bundle_id,
        "source": "trending" if risen else "popular",
        "half_life_hours": hours,
        "missing": query.k - len(items),
        "items": items,
    }


def _risen(serving: Serving, ranked: Iterator[tuple[str, float]], mask: Array, n: int) -> dict[int, float]:
    """At most n of the rows that may be shown, and their scores, in the order given."""
    found: dict[int, float] = {}
    for item_id, score in islice(ranked, MOST_LOOKED_AT):
        row = serving.items.row(item_id)
        if row is not None and mask[row]:
            found[row] = score
            if len(found) == n:
                break
    return found


async def _rest(serving: Serving, terms: Terms, without: list[int], n: int) -> list[int]:
    """The n most popular other rows."""
    others = replace(terms, excluded=np.concatenate([terms.excluded, np.array(without, np.int64)]))
    (ranking,) = await serving.ranker.rank([None], n, exclude_seen=False, terms=others, order=BY_SCORE)
    rows: list[int] = ranking.rows.tolist()
    return rows


def _listed(serving: Serving, rows: list[int], scores: list[Any], offset: int) -> list[dict[str, Any]]:
    items = serving.items.ranked(rows, scores, first=offset + 1)
    counts = serving.recommender.counts(np.array(rows, np.int64))
    return [{**item, "users": users} for item, users in zip(items, counts, strict=True)]
