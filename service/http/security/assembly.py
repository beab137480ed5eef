"""Security as the settings ask for it: made with the application, kept up to date while it runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi.routing import APIRoute

from service.http.route import role_of
from service.http.security.admin import AdminPortOnly, Audited
from service.http.security.admission import OPEN, Admission
from service.http.security.audit import Audit
from service.http.security.keyring import Keyring
from service.http.security.rate_limit import TokenBuckets, rate_of
from service.http.security.shared_rate_limit import SharedTokenBuckets
from service.principal import ANONYMOUS, ANONYMOUS_ADMIN
from service.redis.client import CLOSE_S, FAILURES, RedisClient, connect, within
from service.settings import Settings
from service.telemetry.metrics import Metrics

METRICS = "/metrics"


class Security:
    """The door, and the work behind it that no request waits for."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._buckets = TokenBuckets(time.monotonic)
        self._keys = None
        if settings.api_keys_file is not None:
            self._keys = Keyring(settings.api_keys_file, clock=time.time, on_reload=self._reloaded)
        self.door = Admission(
            keys=self._keys,
            anybody=ANONYMOUS_ADMIN if settings.admin_open else ANONYMOUS,
            rate=rate_of(settings.rate_limit_per_s, settings.rate_limit_burst),
            buckets=self._buckets,
            open_paths=OPEN | {METRICS} if settings.metrics_on_admin else OPEN,
        )
        self.audit = Audit(settings.audit_file, time.time)

    def protect(self, route: APIRoute) -> None:
        """Put a route of admins on their port, and under the audit; and /metrics on that port, if so set."""
        role, port = role_of(route), self._settings.admin_port
        if role == "admin":
            route.app = Audited(route.app, self.audit)
        if port is not None and (role == "admin" or (route.path == METRICS and self._settings.metrics_on_admin)):
            route.app = AdminPortOnly(route.app, port)

    def _reloaded(self, outcome: str) -> None:
        self._metrics.key_reloads.labels(outcome).inc()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Follow the file of keys, and the other replicas by way of Redis, until the end."""
        redis = None if self._settings.redis_url is None else connect(self._settings.redis_url.get_secret_value())
        tasks = [asyncio.create_task(work) for work in self._work(redis)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if redis is not None:
                with suppress(*FAILURES):
                    await within(redis.aclose(), CLOSE_S)

    def _work(self, redis: RedisClient | None) -> list[Coroutine[Any, Any, None]]:
        work = []
        if self._keys is not None:
            work.append(self._keys.watch(self._settings.api_keys_reload_s))
        if redis is not None:
            shared = SharedTokenBuckets(self._buckets, redis, self._settings.namespace, self._metrics, time.monotonic)
            work.append(shared.keep_in_step())
        return work
