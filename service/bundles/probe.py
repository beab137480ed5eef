"""Requests that the service makes of its own bundle, which no caller chooses."""

import asyncio

import numpy as np
import structlog

from service.bundles.loaded import LoadedBundle
from service.errors import ServiceError
from service.ranking.profile import Profile

PROBES = 50
K = 10
PAST_ITEMS = 3

log = structlog.get_logger()


async def failed_probes(loaded: LoadedBundle, n: int = PROBES) -> tuple[int, int]:
    """How many users' lists were made, with explanations, and how many of them failed."""
    user_ids, failed = _spread_users(loaded, n), 0
    for user_id in user_ids:
        try:
            await _make_list(loaded, user_id)
        except ServiceError:  # as valid as an answer
            pass
        except Exception as error:  # a caller would have got a 500
            failed += 1
            if failed == 1:
                log.warning("probe failed", bundle=loaded.bundle.bundle_id, exc_info=error)
        await asyncio.sleep(0)  # requests go on in between
    return len(user_ids), failed


def _spread_users(loaded: LoadedBundle, n: int) -> list[str]:
    user_ids = loaded.bundle.user_ids
    rows = np.linspace(0, len(user_ids) - 1, min(n, len(user_ids))).astype(np.int64)
    return [user_ids[row] for row in rows.tolist()]


async def _make_list(loaded: LoadedBundle, user_id: str) -> None:
    profile: Profile = await loaded.users.find(user_id)
    recommender = loaded.recommender
    ranking = await recommender.recommend(profile, K, exclude_seen=True)
    loaded.items.ranked(ranking.rows.tolist(), list(ranking.scores), first=1)
    if ranking.source == "popular":
        list(recommender.explain_popular(ranking))
    else:
        list(recommender.explain(profile, ranking, most=PAST_ITEMS, exclude_seen=True, counterfactual=False))
