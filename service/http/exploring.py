"""The exploration of one request's lists: its seeds, what it knows of items, and why it may explore nothing."""

import hashlib
from collections.abc import Iterable
from typing import Any

from service.bundles.loaded import LoadedBundle
from service.http.requests import RecommendQuery
from service.http.route import Request
from service.ranking.exploration import Exploration
from service.state import Service

DAY_S = 86_400
SEED_BYTES = 8
NOT_LOGGED = (
    "exploration: nothing was explored, as no impressions are logged; "
    "expected RECO_LOG_IMPRESSIONS=true, or impressions with item_id in POST /events"
)


def explored_version(service: Service, _: Request[Any]) -> bytes:
    """The version of the counts and the day that an explored list depends on."""
    now = service.live.now()
    service.live.exposure.refresh(now)
    return b"#%d#%d" % (service.live.exposure.version, now // DAY_S)


def explorations(
    service: Service, loaded: LoadedBundle, query: RecommendQuery, users: Iterable[str]
) -> list[Exploration]:
    """The exploration of each user's list; empty where nothing is explored."""
    live, settings, bundle = service.live, service.settings, loaded.bundle
    live.exposure.refresh(live.now())
    if not _is_logged(service):
        return []
    drawn_for = f"{bundle.bundle_id} {live.now() // DAY_S:.0f}" if query.seed is None else str(query.seed)
    return [
        Exploration(
            bundle,
            live.exposure,
            query.exploration,
            settings.exploration_few,
            settings.exploration_pool,
            _seed(drawn_for, user),
        )
        for user in users
    ]


def _is_logged(service: Service) -> bool:
    """Whether impressions tell what is shown; otherwise every item would look unseen for ever."""
    return service.settings.log_impressions or service.live.exposure.has_any


def _seed(drawn_for: str, user: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{drawn_for}\0{user}".encode(), digest_size=SEED_BYTES).digest())


def exploration_warnings(service: Service) -> list[str]:
    """Why a list that should explore does not."""
    return [] if _is_logged(service) else [NOT_LOGGED]
