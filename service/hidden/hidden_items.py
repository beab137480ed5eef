"""Items that nobody is shown, by item id: they outlive restarts and bundles, and hold on every replica."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from service.errors import ServiceError
from service.hidden.redis_store import RedisHiddenItems
from service.hidden.sqlite_store import HiddenFile
from service.redis.client import FAILURES
from service.telemetry.metrics import Metrics

log = structlog.get_logger()


class HiddenUnavailable(ServiceError):  # noqa: N818
    """The change was not acknowledged. Redis may still carry it out once it is back; sent again it does no harm."""

    status = 503
    code = "hidden_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class HiddenItems:
    """The hidden ids. Redis, where there is one, holds what all replicas agree on; a file holds what this one knows.

    So a replica that starts while Redis is away knows what was hidden, and a Redis that lost everything is told again.
    `on_change` is called with the ids whenever they are others than before.
    """

    def __init__(
        self, path: Path, shared: RedisHiddenItems | None, metrics: Metrics, on_change: Callable[[frozenset[str]], None]
    ) -> None:
        self._file = HiddenFile(path)
        self._shared = shared
        self._gauge = metrics.hidden_items
        self._on_change = on_change
        self._writing = asyncio.Lock()
        self.ids: frozenset[str] = self._file.read()
        self._gauge.set(len(self.ids))

    async def set(self, item_id: str, *, hidden: bool) -> None:
        """Hide or show an item; durable, and in effect here, when this returns. HiddenUnavailable: not promised."""
        async with self._writing:
            if self._shared is not None:
                try:
                    await self._shared.set(item_id, hidden=hidden, known=self.ids)
                except FAILURES as error:
                    raise HiddenUnavailable(f"Redis, which tells all replicas, cannot be reached: {error}") from error
            await self._take(self.ids | {item_id} if hidden else self.ids - {item_id})

    async def poll(self) -> None:
        """Take over what other replicas have hidden or shown, if anything; a Redis that cannot say changes nothing."""
        if self._shared is None:
            return
        async with self._writing:
            try:
                found = await self._shared.changed(self.ids)
            except FAILURES as error:
                log.warning("hidden items cannot be read from redis", error=repr(error)[:200])
                return
            if found is not None:
                await self._take(found)

    async def _take(self, ids: frozenset[str]) -> None:
        if ids == self.ids:
            return
        try:
            await asyncio.to_thread(self._file.write, ids - self.ids, self.ids - ids)
        except OSError as error:
            if self._shared is None:
                raise HiddenUnavailable(f"the control file cannot be written: {error}") from error
            log.error("hidden items are not kept in the control file", error=str(error))
        self.ids = ids
        self._gauge.set(len(ids))
        self._on_change(ids)
