"""Monitors the bundle that serves: its files on disk, and its responses after it was published."""

import asyncio
import time
from dataclasses import dataclass, replace

import structlog

from index.bundle import BundleError, check_sums
from index.records import PointerMove
from service.bundles.canary import judge, watch_limits
from service.bundles.open_published import OpenedBundle
from service.bundles.probe import probe
from service.bundles.publishing import Publishing
from service.bundles.swapper import REGISTRY_ERRORS, BundleSwapper
from service.bundles.traffic import Traffic
from service.settings import BundleSettings
from service.telemetry.metrics import Metrics

CHECKS = 30  # of the responses in one canary window
HOUR_S = 3_600.0

log = structlog.get_logger()


@dataclass
class _Canary:
    """A newly published bundle that is monitored."""

    bundle_id: str
    before: Traffic  # of the bundle before
    checks: int = 0


class BundleMonitor:
    """Rolls back a new bundle whose responses are bad, once for all replicas, and reports files changed on disk."""

    def __init__(
        self, swapper: BundleSwapper, publishing: Publishing, settings: BundleSettings, metrics: Metrics, replica: str
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._swapper = swapper
        self._publishing = publishing
        self._replica = replica
        self._canary: _Canary | None = None
        self._begun = asyncio.Event()
        swapper.on_swap = self._start_canary

    # The canary: responses of a newly published bundle

    def _start_canary(self, before: Traffic) -> None:
        """Monitor a newly published bundle for `watch_s` seconds, compared with the one before."""
        if self._settings.watch_s:
            self._canary = _Canary(self._swapper.bundle_id, before)
            self._begun.set()

    async def watch_responses(self) -> None:
        """Check the responses of each newly published bundle, until cancelled."""
        while True:
            if self._canary is None:
                await self._begun.wait()
            self._begun.clear()
            await asyncio.sleep(self._settings.watch_s / CHECKS)
            await self._check_responses()

    async def _check_responses(self) -> None:
        canary = self._canary
        if canary is None or self._swapper.bundle_id != canary.bundle_id:
            self._canary = None
            return
        canary.checks += 1
        reason = await self._rollback_reason(canary)
        if self._canary is not canary:  # another bundle was published meanwhile
            return
        if reason or canary.checks == CHECKS:
            self._canary = None
        if reason:
            await self._withdraw(canary.bundle_id, reason)

    async def _rollback_reason(self, canary: "_Canary") -> str:
        """Why the new bundle must be rolled back, empty where it may stay; probes verify what single callers say."""
        loaded = self._swapper.loaded
        verdict = judge(loaded.traffic, [canary.before], watch_limits(self._settings))
        if not verdict.suspicion or verdict.slow:
            return verdict.reason
        probes = await probe(loaded)
        if probes.failed <= self._settings.watch_max_error_share * probes.lists:
            return ""
        return f"{verdict.suspicion}; so did {probes}"

    async def _withdraw(self, bundle_id: str, reason: str) -> None:
        move = PointerMove(at=self._swapper.now(), by=self._replica, why=reason)
        rollbacks = self._metrics.bundle_rollbacks
        try:
            target = await asyncio.to_thread(self._swapper.registry.withdraw, bundle_id, move)
        except REGISTRY_ERRORS as error:
            rollbacks.labels("failed").inc()
            log.error("a bad bundle cannot be rolled back", bundle=bundle_id, why=reason, error=str(error))
            return
        rollbacks.labels("done" if target else "done_by_another").inc()
        if target:
            log.error("bundle rolled back automatically", bundle=bundle_id, to=target, why=reason)
        self._swapper.poll_now()
        if target:
            await self._publishing.notify(target)

    # The files

    async def check_files(self) -> None:
        """Verify a bundle that was opened unverified, then check the files at intervals, until cancelled."""
        settings = self._settings
        if settings.verify_bundle == "background" and not self._swapper.opened.verified:
            await self._verify_opened()
        verified_at = time.monotonic()
        while True:
            await asyncio.sleep(settings.bundle_check_s)
            opened = self._swapper.opened
            damage = await asyncio.to_thread(opened.stamps.changed_files)
            if not damage and time.monotonic() - verified_at >= settings.bundle_sums_hours * HOUR_S:
                damage = await self._check_sums(opened)
                verified_at = time.monotonic()
            if opened is self._swapper.opened:
                self._swapper.report_damage(damage)

    async def _verify_opened(self) -> None:
        opened = self._swapper.opened
        damage = await self._check_sums(opened)
        if opened is not self._swapper.opened:
            return
        self._swapper.report_damage(damage)
        if not damage:
            self._swapper.opened = replace(opened, verified=True)
        elif self._settings.bundle_fallback and not await self._swapper.fall_back(damage[0]):
            log.error("no earlier bundle can replace the damaged one, which keeps serving", damage=damage)

    async def _check_sums(self, opened: OpenedBundle) -> list[str]:
        try:
            await asyncio.to_thread(check_sums, opened.bundle.path, opened.bundle.manifest)
        except (BundleError, OSError) as error:
            return [str(error)]
        return []
