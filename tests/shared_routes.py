"""Routes that many services of one process share: building them takes longer than the rest of a start.

They are built from the settings and depend on nothing else, so that equal settings share them. Of services that differ
in PLACES alone the routes are the same, and reading one of these settings while routes are built is an error.
"""

from collections.abc import Callable
from copy import copy
from types import ModuleType
from typing import Any

from fastapi.routing import APIRoute

from service import app
from service.settings import Settings

# Where a service finds its files and others, how often it looks, and whom it admits.
PLACES = frozenset({
    "registry", "registry_copies", "data", "log_level", "host", "port", "redis_url", "namespace", "otlp_endpoint",
    "api_keys_file", "api_keys_reload_s", "admin_open", "admin_host", "admin_port", "audit_file", "event_log",
    "rules_file", "experiments_file", "bundle_poll_s", "bundle_check_s", "live_poll_s", "rules_reload_s", "watch_s",
    "retrain_data", "retrain_command", "retrain_arguments", "retrain_poll_s", "retrain_lease_s", "retrain_webhook_url",
    "retrain_webhook_secret", "milvus_uri", "milvus_token",
})  # fmt: skip
MOST = 32  # settings whose routes are kept
Build = Callable[[Settings], list[APIRoute]]


class _WithoutPlaces:
    """Settings of which PLACES cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        if name in PLACES:
            raise AssertionError(f"a route is built from {name}: take it out of tests/shared_routes.py")
        return getattr(self._settings, name)


def shared(build: Build) -> Build:
    """`build`, once for equal settings; what a service wraps around a route is its own."""
    kept: dict[tuple[Any, ...], list[APIRoute]] = {}

    def routes(settings: Settings) -> list[APIRoute]:
        if settings.event_kinds_file is not None:  # read once a process, and tests change it between two
            return build(settings)
        key = repr(settings.model_dump(exclude=set(PLACES))), *_builders()
        if key not in kept:
            if len(kept) == MOST:
                del kept[next(iter(kept))]
            kept[key] = build(_WithoutPlaces(settings))  # type: ignore[arg-type]
        return [copy(route) for route in kept[key]]

    return routes


def _builders() -> list[Any]:
    """The function of each module that makes its routes: a test may put another in its place."""
    return [part.routes for part in vars(app).values() if isinstance(part, ModuleType) and hasattr(part, "routes")]


def share_routes() -> None:
    """Services that start in this process from now on share their routes."""
    app._routes = shared(app._routes)
