"""Builds keys, rate limits, admin port and audit log from the settings, and keeps them up to date."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi.routing import APIRoute
from starlette.routing import Route

from service.background import Work, supervised
from service.http.route import role_of
from service.http.security.admin import AdminPortOnly, AuditedRoute
from service.http.security.admission import OPEN_PATHS, Admission
from service.http.security.audit import Audit, AuditError
from service.http.security.cross_site import CrossSite
from service.http.security.keyring import Keyring
from service.http.security.mapped_rate_limit import MappedTokenBuckets
from service.http.security.rate_limit import TokenBuckets, rate_of
from service.http.security.shared_rate_limit import SharedTokenBuckets
from service.principal import ANONYMOUS, ANONYMOUS_ADMIN
from service.redis.client import CLOSE_S, FAILURES, RedisClient, connect, within
from service.settings import Settings
from service.telemetry.metrics import SecurityMetrics
from service.workers.worker import Worker

METRICS = "/metrics"


def _mapped(worker: Worker) -> MappedTokenBuckets:
    return MappedTokenBuckets(worker.memory.buckets, time.monotonic)


class Security:
    """Admission of requests, the audit log, and the tasks that reload keys and synchronize rate limits.

    Workers of one machine share rate limits in memory, unless Redis shares them among all replicas.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: SecurityMetrics,
        worker: Worker | None = None,
        pages: frozenset[str] = frozenset(),
    ) -> None:
        """pages: the paths of pages without data, which need no key."""
        self._settings = settings
        self._metrics = metrics
        self._buckets = TokenBuckets(time.monotonic)
        self._keys = None
        if settings.api_keys_file is not None:
            self._keys = Keyring(settings.api_keys_file, clock=time.time, on_reload=self._count_reload)
        self.admission = Admission(
            keys=self._keys,
            anonymous=ANONYMOUS_ADMIN if settings.admin_open else ANONYMOUS,
            rate=rate_of(settings.rate_limit_per_s, settings.rate_limit_burst),
            buckets=self._buckets if worker is None or settings.redis_url is not None else _mapped(worker),
            open_paths=OPEN_PATHS | pages | frozenset({METRICS} if settings.metrics_on_admin else ()),
            cross_site=CrossSite(
                settings.cors_origins, own_names=not (settings.admin_open and settings.is_of_this_machine)
            ),
        )
        self.audit = Audit(settings.audit_file, time.time, time.monotonic)

    def protect(self, route: APIRoute) -> None:
        """Audit a route of admins, and move it to the admin port; likewise /metrics with metrics_on_admin."""
        role, port = role_of(route), self._settings.admin_port
        if role == "admin":
            route.app = AuditedRoute(route.app, self.audit)
        if port is not None and (role == "admin" or (route.path == METRICS and self._settings.metrics_on_admin)):
            route.app = AdminPortOnly(route.app, port)

    def on_admin_port(self, page: Route) -> Route:
        """Move a page to the admin port, where there is one."""
        if self._settings.admin_port is not None:
            page.app = AdminPortOnly(page.app, self._settings.admin_port)
        return page

    def _count_reload(self, outcome: str) -> None:
        self._metrics.key_reloads.labels(outcome).inc()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reload the keys file, and synchronize rate limits with the other replicas, while the context is open."""
        redis = None if self._settings.redis_url is None else connect(self._settings.redis_url.get_secret_value())
        try:
            async with supervised(self._metrics, self._background_work(redis)):
                yield
        finally:
            with suppress(AuditError):
                await self.audit.summarise()
            if redis is not None:
                with suppress(*FAILURES):
                    await within(redis.aclose(), CLOSE_S)

    def _background_work(self, redis: RedisClient | None) -> dict[str, Work]:
        work: dict[str, Work] = {"audit": self.audit.summarise_forever}
        if self._keys is not None:
            work["api_keys"] = partial(self._keys.reload_forever, self._settings.api_keys_reload_s)
        if redis is not None:
            shared = SharedTokenBuckets(self._buckets, redis, self._settings.namespace, self._metrics, time.monotonic)
            work["rate_limits"] = shared.sync_forever
        return work
