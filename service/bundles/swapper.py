"""Swaps to the bundle that the registry's pointer names, while requests are answered.

`follow` polls the pointer (a message from another replica makes it poll at once). A new bundle is verified, loaded in a
thread and warmed up with recent requests; then one assignment replaces the current bundle. Requests in flight finish on
the bundle that they began with. Where a step fails, the current bundle keeps serving.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from index.errors import InputError
from index.registry import Pointer
from service.bundles.bundle_errors import SwapFailedError
from service.bundles.current import CurrentBundle
from service.bundles.loaded import LoadedBundle
from service.bundles.loader import BundleLoader
from service.bundles.open_published import OpenedBundle, open_verified
from service.bundles.polling import Polling
from service.bundles.traffic import Traffic
from service.settings import BundleSettings
from service.telemetry.metrics import BundleMetrics

REGISTRY_ERRORS = (InputError, OSError)

log = structlog.get_logger()


@dataclass(frozen=True)
class PreparedBundle:
    """A bundle that is ready to serve."""

    opened: OpenedBundle
    loaded: LoadedBundle


@dataclass(frozen=True)
class SwapFailure:
    """The last failed swap; the next successful one clears it."""

    bundle: str
    at: datetime
    error: str


class BundleSwapper:
    """Replaces the current bundle; nothing else does. Callers of `swap_to` hold the lock `swapping`."""

    def __init__(
        self, current: CurrentBundle, opened: OpenedBundle, loader: BundleLoader, clock: Callable[[], float]
    ) -> None:
        self.registry = opened.registry
        self.swapping = asyncio.Lock()
        self.opened = opened
        self.failure: SwapFailure | None = None
        self.damage: list[str] = []  # what is wrong with the files of the current bundle
        # Runs after a swap to a newly published bundle, with the answers of the bundle before.
        self.on_swap: Callable[[Traffic], None] = lambda _: None
        self._current = current
        self._loader = loader
        self._settings: BundleSettings = loader.settings
        self._metrics: BundleMetrics = loader.metrics
        self._clock = clock
        self._polling = Polling(self._settings.bundle_poll_s)
        self._backoff = self._polling.backoff
        self._set_metrics()
        self._pointer = opened.pointer  # at the last poll
        self._registry_error = ""  # why the last poll could not read the registry
        self._copies_tidied_for = ""  # the current bundle when local copies of others were last deleted
        for bundle_id, error in opened.failures.items():
            self._record_failure(bundle_id, error)
            self._metrics.bundle_behind.set(1)

    @property
    def bundle_id(self) -> str:
        """The id of the bundle that serves."""
        return self._current.bundle_id

    @property
    def loaded(self) -> LoadedBundle:
        """The bundle that serves."""
        return self._current.loaded

    def now(self) -> datetime:
        """The current time in UTC, for records."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def poll_now(self) -> None:
        """Poll the pointer at once, without backoff: it has moved."""
        self._polling.now()

    async def follow(self) -> None:
        """Poll the pointer and swap to what it names, until cancelled."""
        await self._polling.run(self.poll)

    async def poll(self) -> None:
        """Swap to the bundle that the pointer names, if another one serves; a failed swap is retried with backoff."""
        try:
            target = await asyncio.to_thread(self._published)
        except REGISTRY_ERRORS as error:
            self._report_registry(str(error))
            return
        self._report_registry("")
        last, self._pointer = self._pointer, target
        behind = target is not None and target.bundle != self.bundle_id
        self._metrics.bundle_behind.set(behind)
        if target is not None and behind and self._backoff.due(target.bundle):
            with suppress(SwapFailedError):  # logged and counted already
                await self._swap(target, rolled_back=last is not None and target.precedes(last))
        if target is not None and self._copies_tidied_for != self.bundle_id:
            self._copies_tidied_for = self.bundle_id
            with suppress(*REGISTRY_ERRORS):  # a copy too many does no harm
                await asyncio.to_thread(self._tidy_copies, target)

    def _published(self) -> Pointer | None:
        """The pointer; None where there is none, or its bundle was withdrawn.

        Each poll reads the file itself: NFS may cache a file's time and size for a minute, but not its content when it
        is opened again. A registry that is a symbolic link is resolved again, too.
        """
        pointer = self.registry.pointer()
        if pointer is None or self.registry.record(pointer.bundle).withdrawn is not None:
            return None
        return pointer

    def _tidy_copies(self, target: Pointer) -> None:
        """Delete local copies of bundles but for those that a start needs while the registry is unavailable."""
        serving = self.bundle_id
        self.registry.save_offline_pointer(target if target.bundle == serving else Pointer(bundle=serving))
        experiments = self.registry.experiments().bundles
        self.registry.evict_copies(serving, target.bundle, *target.history[-1:], *experiments)

    async def _swap(self, target: Pointer, *, rolled_back: bool) -> None:
        async with self.swapping:
            if target.bundle != self.bundle_id:  # a publish may have swapped to it meanwhile
                self.swap_to(await self.prepare(target.bundle), canary=not rolled_back)

    async def prepare(self, bundle_id: str) -> PreparedBundle:
        """Open, load and warm up a bundle. SwapFailedError if it cannot serve: logged, counted, shown by /bundles."""
        start = time.perf_counter()
        try:
            verify = self._settings.verify_bundle != "off"
            opened = await asyncio.to_thread(open_verified, self.registry, bundle_id, self._settings, verify=verify)
            prepared = PreparedBundle(opened, await self._loader.load_warm(opened.bundle))
        except (*REGISTRY_ERRORS, MemoryError) as error:
            raise self._record_failure(bundle_id, str(error) or type(error).__name__) from error
        self._metrics.bundle_swap_seconds.observe(time.perf_counter() - start)
        return prepared

    def swap_to(self, prepared: PreparedBundle, *, canary: bool) -> None:
        """Replace the current bundle, which closes when its last request has ended.

        With `canary` the responses of the new bundle are monitored, and it may be rolled back automatically.
        """
        before, traffic = self.bundle_id, self._current.loaded.traffic
        self._current.replace(prepared.loaded)
        self.opened, self.damage, self.failure = prepared.opened, [], None
        self._backoff.clear()
        self._metrics.bundle_swaps.labels("done").inc()
        self._set_metrics()
        log.info("bundle swapped", bundle=self.bundle_id, before=before)
        if canary:
            self.on_swap(traffic)

    async def fall_back(self, reason: str) -> bool:
        """Swap to the newest earlier bundle that can serve, though the pointer names this one; False if none can."""
        damaged = self.bundle_id
        self._record_failure(damaged, reason)
        failure = self.failure
        for bundle_id in reversed(await asyncio.to_thread(self.registry.rollback_targets)):
            with suppress(SwapFailedError):
                async with self.swapping:
                    self.swap_to(await self.prepare(bundle_id), canary=False)
                self._backoff.failed(damaged)
                self.failure = failure
                self._metrics.bundle_behind.set(1)
                return True
        return False

    def report_damage(self, damage: list[str]) -> None:
        """Report in the log, a metric and /bundles which files of the current bundle are damaged; empty: none."""
        if damage and damage != self.damage:
            log.error("the bundle that serves is damaged on disk", bundle=self.bundle_id, damage=damage)
        self.damage = damage
        self._metrics.bundle_damaged.set(bool(damage))

    def _report_registry(self, error: str) -> None:
        """Log the beginning and the end of an outage of the registry; an empty `error` means that it can be read."""
        if error and not self._registry_error:
            log.error("the registry cannot be read", registry=str(self.registry), serving=self.bundle_id, error=error)
        elif self._registry_error and not error:
            log.info("the registry can be read again", registry=str(self.registry))
        self._registry_error = error
        self._metrics.registry_away.set(bool(error))

    def _set_metrics(self) -> None:
        manifest = self._current.loaded.bundle.manifest
        self._metrics.bundle.info({"bundle_id": manifest.bundle_id, "model": manifest.model})
        self._metrics.bundle_created.set(manifest.created_at.timestamp())
        for name, recall in manifest.index.recall.items():
            self._metrics.index_recall.labels(name.removeprefix("recall@")).set(recall)
        self._metrics.index_promised.set(manifest.index.promised or 0)
        self._metrics.bundle_behind.set(0)
        self._metrics.bundle_damaged.set(0)

    def _record_failure(self, bundle_id: str, error: str) -> SwapFailedError:
        self._backoff.failed(bundle_id)
        self._metrics.bundle_swaps.labels("failed").inc()
        self.failure = SwapFailure(bundle_id, self.now(), error)
        log.error("bundle not swapped in", bundle=bundle_id, serving=self.bundle_id, error=error)
        return SwapFailedError(f"{bundle_id} cannot serve here: {error}")
