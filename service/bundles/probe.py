"""Requests that the service makes of its own bundle, which no caller chooses."""

import asyncio
import time
from functools import partial
from statistics import quantiles
from typing import NamedTuple

import numpy as np
import structlog

from index.ids import IdTable
from index.recommending.profile import Profile
from service.bundles.loaded import LoadedBundle
from service.errors import ServiceError

PROBES = 50
K = 10
PAST_ITEMS = 3

log = structlog.get_logger()


class Probes(NamedTuple):
    """How the bundle answered."""

    lists: int  # that were made
    failed: int
    p90_s: float  # of their durations

    def __str__(self) -> str:
        return f"{self.failed} of {self.lists} probes"


async def probe(loaded: LoadedBundle, n: int = PROBES) -> Probes:
    """Make lists for n users and of n similar items, with explanations."""
    bundle, failed = loaded.bundle, 0
    lists = [partial(_make_list, loaded, user_id) for user_id in _spread(bundle.user_ids, n)]
    lists += [partial(_find_similar, loaded, item_id) for item_id in _spread(bundle.item_ids, n)]
    seconds: list[float] = []
    for make in lists:
        start = time.perf_counter()
        try:
            await make()
        except ServiceError:  # as valid as an answer
            pass
        except Exception as error:  # a caller would have got a 500
            failed += 1
            if failed == 1:
                log.warning("probe failed", bundle=loaded.bundle.bundle_id, exc_info=error)
        seconds.append(time.perf_counter() - start)
        await asyncio.sleep(0)  # requests go on in between
    return Probes(len(lists), failed, quantiles(seconds, n=10)[-1])


def _spread(ids: IdTable, n: int) -> list[str]:
    rows = np.linspace(0, len(ids) - 1, min(n, len(ids))).astype(np.int64)
    return [ids[row] for row in rows.tolist()]


async def _find_similar(loaded: LoadedBundle, item_id: str) -> None:
    row, similar = loaded.items.row(item_id), loaded.similar_items
    assert row is not None
    nearest = await similar.nearest(row, K, similar.spaces[0])
    if nearest is not None:
        rows, scores = nearest
        loaded.items.ranked(rows.tolist(), scores)
        similar.cosines(row, rows)
        list(similar.users_in_common(row, rows))


async def _make_list(loaded: LoadedBundle, user_id: str) -> None:
    profile: Profile = await loaded.users.find_for_replay(user_id)
    recommender = loaded.recommender
    ranking = await recommender.recommend(profile, K, exclude_seen=True)
    loaded.items.ranked(ranking.rows.tolist(), ranking.scores)
    if ranking.source == "popular":
        list(recommender.explain_popular(ranking))
    else:
        list(recommender.explain(profile, ranking, most=PAST_ITEMS, exclude_seen=True, counterfactual=False))
