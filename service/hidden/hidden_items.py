"""The hidden items: item ids that appear in no list, on any replica, across restarts and bundles."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import structlog
from prometheus_client import Gauge

from service.errors import ServiceError
from service.hidden.redis_store import RedisHiddenItems
from service.hidden.sqlite_store import SqliteHiddenItems
from service.redis.client import FAILURES, reason_of

log = structlog.get_logger()


class HiddenItemsUnavailableError(ServiceError):
    """The change was not acknowledged. Redis may still apply it later; the caller may safely repeat the request."""

    status = 503
    code = "hidden_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class HiddenItems:
    """The ids of hidden items. Redis, if configured, holds the set of all replicas; a file holds this replica's copy.

    So a replica that starts while Redis is unavailable knows the hidden items, and a Redis that lost its data is
    restored. `on_change` is called with the ids when they have changed.
    state: "current"; "last known" while Redis, which shares them, cannot be read; "unknown" where neither Redis nor the
    file was ever read here.
    """

    state: Literal["current", "last known", "unknown"]

    def __init__(
        self,
        path: Path,
        shared: RedisHiddenItems | None,
        gauge: Gauge,
        on_change: Callable[[frozenset[str]], None],
        *,
        table: str = "hidden",
    ) -> None:
        self._file = SqliteHiddenItems(path, table)
        self._shared = shared
        self._gauge = gauge
        self._on_change = on_change
        self._changing = asyncio.Lock()
        known = self._file.read()
        self.ids: frozenset[str] = known or frozenset()
        if self._file.problem is not None:
            log.error("hidden items cannot be kept", error=self._file.problem)
        self.state = "unknown" if known is None else "current"
        if shared is not None:
            self.state = "last known" if self.ids or self._file.was_shared() else "unknown"
        self._gauge.set(len(self.ids))

    @property
    def problem(self) -> str | None:
        """Why the file of hidden items cannot be read or written; None where it can."""
        return self._file.problem

    async def set(self, item_id: str, *, hidden: bool) -> None:
        """Hide or show an item: durable and in effect here when this returns, else HiddenItemsUnavailableError."""
        async with self._changing:
            if self._file.problem is not None:  # by now the file may be readable
                await self._read_again()
            if self._shared is not None:
                try:
                    await self._shared.set(item_id, hidden=hidden, known=self.ids)
                except FAILURES as error:
                    detail = f"Redis, which shares hidden items among replicas, cannot be reached: {error}"
                    raise HiddenItemsUnavailableError(detail) from error
            await self._replace(self.ids | {item_id} if hidden else self.ids - {item_id})

    async def read_file(self) -> None:
        """Apply what other workers of this machine have written to the file; unchanged where it cannot be read."""
        async with self._changing:
            known = await asyncio.to_thread(self._file.read)
            if known is not None and known != self.ids:
                self._apply(known)

    async def _read_again(self) -> None:
        known = await asyncio.to_thread(self._file.read)
        if known is not None:
            await self._replace(self.ids | known)
            self.state = "current" if self._shared is None else self.state

    async def poll(self) -> None:
        """Apply the changes of other replicas; without a response of Redis nothing changes."""
        if self._shared is None:
            return
        async with self._changing:
            try:
                ids = await self._shared.read_if_changed(known=self.ids)
            except FAILURES as error:
                self.state = "last known" if self.state == "current" else self.state
                log.warning("hidden items cannot be read from redis", hidden=self.state, error=reason_of(error))
                return
            if ids is not None:
                await self._replace(ids)
            if self.state == "unknown":
                await asyncio.to_thread(self._file.set_shared)
            self.state = "current"

    async def _replace(self, ids: frozenset[str]) -> None:
        if ids == self.ids:
            return
        try:
            await asyncio.to_thread(self._file.write, ids - self.ids, self.ids - ids)
        except OSError as error:
            if self._shared is None:
                raise HiddenItemsUnavailableError(f"the control file cannot be written: {error}") from error
            log.error("hidden items cannot be written to the control file", error=str(error))
        self._apply(ids)

    def _apply(self, ids: frozenset[str]) -> None:
        self.ids = ids
        self._gauge.set(len(ids))
        self._on_change(ids)
