"""Looks after the bundle that serves: its files on disk, and what became of the requests since it was published."""

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from index.bundle import BundleError, check_sums
from index.records import PointerMove
from service.bundles.canary import Traffic, complaint
from service.bundles.open_published import Opened
from service.bundles.publishing import Publishing
from service.bundles.swapper import REGISTRY_ERRORS, Holder

if TYPE_CHECKING:
    from service.state import Service

LOOKS = 30  # at the traffic, in one window
HOUR_S = 3_600.0

log = structlog.get_logger()


class Guard:
    """Withdraws a bundle that does badly, once among all replicas, and tells of files that changed."""

    def __init__(self, service: "Service", holder: Holder, publishing: Publishing, name: str) -> None:
        self._service = service
        self._settings = service.settings
        self._metrics = service.metrics
        self._holder = holder
        self._publishing = publishing
        self._name = name
        self._start = Traffic.of(service.metrics)  # when the bundle that serves was taken up
        self._watch: asyncio.Task[None] | None = None
        holder.on_taken = self._begin_watch

    # What became of the requests

    def _begin_watch(self) -> None:
        """A published bundle was taken up: for a while, hold it to what the one before did."""
        now = Traffic.of(self._metrics)
        before, self._start = now.since(self._start), now
        if self._watch is not None:
            self._watch.cancel()
        if self._settings.watch_s:
            self._watch = asyncio.create_task(self._watched(self._holder.bundle_id, now, before))

    async def _watched(self, bundle_id: str, start: Traffic, before: Traffic) -> None:
        for _ in range(LOOKS):
            await asyncio.sleep(self._settings.watch_s / LOOKS)
            if self._holder.bundle_id != bundle_id:
                return
            why = complaint(Traffic.of(self._metrics).since(start), before, self._settings)
            if why:
                await self._withdraw(bundle_id, why)
                return

    async def _withdraw(self, bundle_id: str, why: str) -> None:
        move = PointerMove(at=self._holder.now(), by=self._name, why=why)
        rollbacks = self._metrics.bundle_rollbacks
        try:
            target = await asyncio.to_thread(self._holder.registry.withdraw, bundle_id, move)
        except REGISTRY_ERRORS as error:
            rollbacks.labels("failed").inc()
            log.error("a bad bundle cannot be rolled back", bundle=bundle_id, why=why, error=str(error))
            return
        rollbacks.labels("done" if target else "done_by_another").inc()
        if target:
            log.error("bundle rolled back by itself", bundle=bundle_id, to=target, why=why)
            self._publishing.tell(target)
        self._holder.look()

    # The files

    async def look_after_files(self) -> None:
        """Verify what was opened unverified, then look at the files now and then, until cancelled."""
        settings = self._settings
        if settings.verify_bundle == "background" and not self._holder.opened.verified:
            await self._verify_start()
        verified_at = time.monotonic()
        while True:
            await asyncio.sleep(settings.bundle_check_s)
            opened = self._holder.opened
            damage = await asyncio.to_thread(opened.seal.changed_files)
            if not damage and time.monotonic() - verified_at >= settings.bundle_sums_hours * HOUR_S:
                damage = await self._sums(opened)
                verified_at = time.monotonic()
            if opened is self._holder.opened:
                self._holder.show_damage(damage)

    async def _verify_start(self) -> None:
        opened = self._holder.opened
        damage = await self._sums(opened)
        if opened is not self._holder.opened:
            return
        self._holder.show_damage(damage)
        if not damage:
            self._holder.opened = replace(opened, verified=True)
        elif self._settings.bundle_fallback and not await self._holder.fall_back(damage[0]):
            log.error("no earlier bundle can take the place of the damaged one; it serves on", damage=damage)

    async def _sums(self, opened: Opened) -> list[str]:
        try:
            await asyncio.to_thread(check_sums, opened.bundle.path, opened.bundle.manifest)
        except (BundleError, OSError) as error:
            return [str(error)]
        return []

    async def close(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
