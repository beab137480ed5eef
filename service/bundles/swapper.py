"""Replaces the bundle that serves, while requests are answered.

The registry's pointer decides. `follow` polls it (a message from another replica makes it poll at once) and loads the
bundle that it names: opened and built in a thread, verified, tried with recent requests, then put in place by one
assignment. Requests in flight end on the bundle that they began with. Where a step fails, the bundle before serves on.
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
from service.bundles.backoff import Backoff
from service.bundles.bundle_errors import SwapFailedError
from service.bundles.current import CurrentBundle
from service.bundles.loaded import LoadedBundle
from service.bundles.loader import BundleLoader
from service.bundles.open_published import OpenedBundle, open_verified

REGISTRY_ERRORS = (InputError, OSError)

log = structlog.get_logger()


@dataclass(frozen=True)
class PreparedBundle:
    """A bundle that could serve at once."""

    opened: OpenedBundle
    loaded: LoadedBundle


@dataclass(frozen=True)
class SwapFailure:
    """The last swap that failed; cleared by the next that succeeds."""

    bundle: str
    at: datetime
    error: str


class BundleSwapper:
    """The only one that replaces the current bundle. Hold `swapping` while doing so."""

    def __init__(
        self, current: CurrentBundle, opened: OpenedBundle, loader: BundleLoader, clock: Callable[[], float]
    ) -> None:
        self.registry = opened.registry
        self.swapping = asyncio.Lock()
        self.opened = opened
        self.failure: SwapFailure | None = None
        self.damage: list[str] = []  # what is wrong with the files of the bundle that serves
        self.on_swap: Callable[[], None] = lambda: None  # called after a swap to a newly published bundle
        self._current = current
        self._loader = loader
        self._settings = loader.settings
        self._metrics = loader.metrics
        self._clock = clock
        self._backoff = Backoff(time.monotonic)
        self._wake = asyncio.Event()
        self._show()
        self._pointer = opened.pointer  # as of the last poll
        self._registry_error = ""  # why the registry could not be read at the last poll
        self._copies_kept_for = ""  # what served when copies of other bundles were last deleted
        for bundle_id, error in opened.passed_over.items():
            self._fail(bundle_id, error)
            self._metrics.bundle_behind.set(1)

    @property
    def bundle_id(self) -> str:
        """The id of the bundle that serves."""
        return self._current.bundle_id

    def now(self) -> datetime:
        """The time, for records."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def poll_now(self) -> None:
        """Poll the pointer at once, and retry what failed before: the pointer has moved."""
        self._backoff.clear()
        self._wake.set()

    async def follow(self) -> None:
        """Serve what the pointer names, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._settings.bundle_poll_s)
            self._wake.clear()
            try:
                await self.poll()
            except Exception as error:  # the edge of this task: it must live as long as the process
                self._fail(self.bundle_id, repr(error))

    async def poll(self) -> None:
        """Swap to the bundle that the pointer names where another one serves; a failure is retried with backoff."""
        try:
            wanted = await asyncio.to_thread(self._published)
        except REGISTRY_ERRORS as error:
            self._show_registry(str(error))
            return
        self._show_registry("")
        last, self._pointer = self._pointer, wanted
        behind = wanted is not None and wanted.bundle != self.bundle_id
        self._metrics.bundle_behind.set(behind)
        if wanted is not None and behind and self._backoff.due(wanted.bundle):
            with suppress(SwapFailedError):  # logged and counted already
                await self._swap(wanted, rolled_back=last is not None and wanted.precedes(last))
        if wanted is not None and self._copies_kept_for != self.bundle_id:
            self._copies_kept_for = self.bundle_id
            with suppress(OSError):  # one copy too many does no harm
                await asyncio.to_thread(self._tidy_copies, wanted)

    def _published(self) -> Pointer | None:
        """The pointer; None where it names no bundle, or one that was withdrawn.

        It is read whole each time: NFS may cache a file's time and size for a minute, but not its content once it is
        opened again. A registry that is a symbolic link is resolved again as well.
        """
        pointer = self.registry.pointer()
        if pointer is None or self.registry.record(pointer.bundle).withdrawn is not None:
            return None
        return pointer

    def _tidy_copies(self, wanted: Pointer) -> None:
        """Keep local copies of what a start needs while the registry is unavailable, and delete the others."""
        serving = self.bundle_id
        self.registry.remember(wanted if wanted.bundle == serving else Pointer(bundle=serving))
        self.registry.forget_copies(serving, wanted.bundle, *wanted.history[-1:])

    async def _swap(self, wanted: Pointer, *, rolled_back: bool) -> None:
        async with self.swapping:
            if wanted.bundle != self.bundle_id:  # a publish may have done it meanwhile
                self.swap_to(await self.prepare(wanted.bundle), canary=not rolled_back)

    async def prepare(self, bundle_id: str) -> PreparedBundle:
        """Another bundle, ready to serve. SwapFailedError where it must not: logged, counted, shown by /bundles."""
        start = time.perf_counter()
        try:
            verify = self._settings.verify_bundle != "off"
            opened = await asyncio.to_thread(open_verified, self.registry, bundle_id, self._settings, verify=verify)
            prepared = PreparedBundle(opened, await self._loader.load_warm(opened.bundle))
        except (*REGISTRY_ERRORS, MemoryError) as error:
            raise self._fail(bundle_id, str(error) or type(error).__name__) from error
        self._metrics.bundle_swap_seconds.observe(time.perf_counter() - start)
        return prepared

    def swap_to(self, prepared: PreparedBundle, *, canary: bool) -> None:
        """Replace the current bundle by one assignment; the bundle before closes when its last request has ended.

        With `canary` the new bundle is watched for a while and rolled back automatically where it does badly.
        """
        before = self.bundle_id
        self._current.replace(prepared.loaded)
        self.opened, self.damage, self.failure = prepared.opened, [], None
        self._backoff.clear()
        self._metrics.bundle_swaps.labels("done").inc()
        self._show()
        log.info("bundle swapped", bundle=self.bundle_id, before=before)
        if canary:
            self.on_swap()

    async def fall_back(self, reason: str) -> bool:
        """Serve the newest earlier bundle that can serve, though the pointer names this one; whether there was one."""
        damaged = self.bundle_id
        self._fail(damaged, reason)
        failure = self.failure
        for bundle_id in reversed(await asyncio.to_thread(self.registry.earlier)):
            with suppress(SwapFailedError):
                async with self.swapping:
                    self.swap_to(await self.prepare(bundle_id), canary=False)
                self._backoff.failed(damaged)
                self.failure = failure
                self._metrics.bundle_behind.set(1)
                return True
        return False

    def show_damage(self, damage: list[str]) -> None:
        """Show what is wrong with the files of the bundle that serves; an empty list means that they are whole."""
        if damage and damage != self.damage:
            log.error("the bundle that serves is damaged on disk", bundle=self.bundle_id, damage=damage)
        self.damage = damage
        self._metrics.bundle_damaged.set(bool(damage))

    def _show_registry(self, error: str) -> None:
        """Log once an outage why the registry cannot be read; an empty text means that it can."""
        if error and not self._registry_error:
            log.error("the registry cannot be read", registry=str(self.registry), serving=self.bundle_id, error=error)
        elif self._registry_error and not error:
            log.info("the registry can be read again", registry=str(self.registry))
        self._registry_error = error
        self._metrics.registry_away.set(bool(error))

    def _show(self) -> None:
        manifest = self._current.loaded.bundle.manifest
        self._metrics.bundle.info({"bundle_id": manifest.bundle_id, "model": manifest.model})
        self._metrics.bundle_created.set(manifest.created_at.timestamp())
        for name, recall in manifest.index.recall.items():
            self._metrics.index_recall.labels(name.removeprefix("recall@")).set(recall)
        self._metrics.bundle_behind.set(0)
        self._metrics.bundle_damaged.set(0)

    def _fail(self, bundle_id: str, error: str) -> SwapFailedError:
        self._backoff.failed(bundle_id)
        self._metrics.bundle_swaps.labels("failed").inc()
        self.failure = SwapFailure(bundle_id, self.now(), error)
        log.error("bundle not swapped in", bundle=bundle_id, serving=self.bundle_id, error=error)
        return SwapFailedError(f"{bundle_id} cannot serve here: {error}")
