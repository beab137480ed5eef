"""GET /popular and /trending: items with the most interactions in training, and with the most recent events."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import orjson
from fastapi.routing import APIRoute

from service.bundles.loaded import LoadedBundle
from service.events.trending import HOUR_S
from service.http.item_fields import field_warnings
from service.http.request_cost import list_cost
from service.http.requests import PagedQuery, TrendingQuery, with_limits
from service.http.responses import PopularAnswer, TrendingAnswer
from service.http.route import Request, route
from service.http.routes.filtering import query_constraints, warnings_of
from service.ranking.constraints import Constraints
from service.ranking.diversity import BY_SCORE
from service.ranking.turns import Turn
from service.settings import Settings
from service.state import Service

Array = np.ndarray[Any, Any]

MAX_CANDIDATES = 10_000  # trending items that filters may drop before popular ones fill the list


def routes(settings: Settings) -> list[APIRoute]:
    """GET /popular and /trending."""
    return [
        route(
            "/popular",
            popular,
            query=with_limits(PagedQuery, settings),
            response=PopularAnswer,
            cost_of=list_cost,
            cacheable=True,
        ),
        route(
            "/trending",
            trending,
            query=with_limits(TrendingQuery, settings),
            response=TrendingAnswer,
            cost_of=list_cost,
        ),
    ]


async def popular(service: Service, request: Request[PagedQuery]) -> dict[str, Any]:
    """The most popular items; recent interactions count more where the bundle has times."""
    loaded, query = request.loaded, request.query
    await request.turn.begin()
    constraints = await query_constraints(service, request, query)
    (ranking,) = await loaded.ranker.rank(
        [None], query.k, query.offset, exclude_seen=False, constraints=constraints, order=BY_SCORE, turn=request.turn
    )
    rows: list[int] = ranking.rows.tolist()
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "popular",
        "missing": query.k - len(rows),
        "items": _render(loaded, rows, ranking.scores, query),
        **warnings_of(constraints.warnings, await field_warnings(loaded, query, rows)),
    }


async def trending(service: Service, request: Request[TrendingQuery]) -> dict[str, Any]:
    """The items with the most positive events; an event's weight halves with every half-life.

    Popular items with a score of 0 fill the rest of the list; without any event the source is `popular`.
    """
    loaded, query, live = request.loaded, request.query, service.live
    await request.turn.begin()
    hours = query.half_life_hours or service.settings.trending_half_life_hours
    constraints = await query_constraints(service, request, query)
    mask = constraints.allowed_mask(len(loaded.bundle.item_ids))
    mask[loaded.hidden] = False
    depth = query.offset + query.k
    scored = _trending_rows(loaded, live.trending.ranked(hours * HOUR_S, live.now()), mask, depth)
    rows, scores = list(scored), list(scored.values())
    if len(rows) < depth:
        popular_rows = await _popular_rows(loaded, constraints, rows, depth - len(rows), request.turn)
        rows, scores = rows + popular_rows, scores + [0.0] * len(popular_rows)
    rows, scores = rows[query.offset :], scores[query.offset :]
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "trending" if scored else "popular",
        "half_life_hours": hours,
        "missing": query.k - len(rows),
        "items": _render(loaded, rows, np.array(scores, np.float64), query),
        **warnings_of(constraints.warnings, await field_warnings(loaded, query, rows)),
    }


def _trending_rows(loaded: LoadedBundle, ranked: Iterator[tuple[str, float]], mask: Array, n: int) -> dict[int, float]:
    """The first n rows that the mask admits, with their scores."""
    scores: dict[int, float] = {}
    for item_id, score in islice(ranked, MAX_CANDIDATES):
        row = loaded.items.row(item_id)
        if row is not None and mask[row]:
            scores[row] = score
            if len(scores) == n:
                break
    return scores


async def _popular_rows(
    loaded: LoadedBundle, constraints: Constraints, without: list[int], n: int, turn: Turn
) -> list[int]:
    """The n most popular rows except those in `without`."""
    others = replace(constraints, excluded=np.concatenate([constraints.excluded, np.array(without, np.int64)]))
    (ranking,) = await loaded.ranker.rank([None], n, exclude_seen=False, constraints=others, order=BY_SCORE, turn=turn)
    rows: list[int] = ranking.rows.tolist()
    return rows


def _render(loaded: LoadedBundle, rows: list[int], scores: Array, query: PagedQuery) -> orjson.Fragment:
    counts = [b',"users":%d' % count for count in loaded.recommender.user_counts(np.array(rows, np.int64))]
    return loaded.items.ranked(rows, scores, first=query.offset + 1, more=counts, fields=query.chosen_fields)
