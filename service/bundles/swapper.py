"""Which bundle serves, and how another takes its place while requests are answered.

The registry's pointer decides. `follow` looks at it again and again (news from another replica make it look at once)
and takes up what it names: opened and built in a thread, verified, asked what callers asked of late, then put in place
by one assignment. Requests in flight end on the bundle that they began with. Whatever fails, the one before serves on.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from index.errors import InputError
from index.paging import page_in
from index.registry import Pointer
from service.bundles.backoff import Retries
from service.bundles.errors import SwapFailedError
from service.bundles.loaded import Serving, make_serving
from service.bundles.open_published import Opened, open_sealed
from service.bundles.warmup import warm_up

if TYPE_CHECKING:
    from service.state import Service

MEGABYTE = 1_000_000
REGISTRY_ERRORS = (InputError, OSError)

log = structlog.get_logger()


@dataclass(frozen=True)
class Ready:
    """A bundle that could serve at once."""

    opened: Opened
    serving: Serving


@dataclass(frozen=True)
class Trouble:
    """The last thing that went wrong; gone once a swap goes well."""

    bundle: str
    at: datetime
    error: str


class Holder:
    """The one place that changes `service.serving`. `swapping` is held by whoever is about to."""

    def __init__(self, service: "Service", opened: Opened, clock: Callable[[], float]) -> None:
        self.registry = opened.registry
        self.swapping = asyncio.Lock()
        self.opened = opened
        self.trouble: Trouble | None = None
        self.damage: list[str] = []  # what is wrong with the files of the bundle that serves
        self.on_taken: Callable[[], None] = lambda: None  # called after a swap to a bundle that was published
        self._service = service
        self._settings = service.settings
        self._metrics = service.metrics
        self._clock = clock
        self._retries = Retries(time.monotonic)
        self._news = asyncio.Event()
        self._show()
        self._pointer = opened.pointer  # as it was at the last look
        self._away = ""  # why the registry could not be read at the last look
        self._tidied = ""  # what served when copies of others were last forgotten
        for bundle_id, error in opened.passed_over.items():
            self._fail(bundle_id, error)
            self._metrics.bundle_behind.set(1)

    @property
    def bundle_id(self) -> str:
        """Of the bundle that serves."""
        return self._service.serving.bundle.bundle_id

    def now(self) -> datetime:
        """The time, for records."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def look(self) -> None:
        """Somebody says that the pointer moved: look at once, and try again whatever failed."""
        self._retries.clear()
        self._news.set()

    async def follow(self) -> None:
        """Serve what the pointer names, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._settings.bundle_poll_s)
            self._news.clear()
            try:
                await self.settle()
            except Exception as error:  # the edge of this task: it must live as long as the process
                self._fail(self.bundle_id, repr(error))

    async def settle(self) -> None:
        """Take up what the pointer names, if that is another bundle than serves; what fails is tried again later."""
        try:
            wanted = await asyncio.to_thread(self._wanted)
        except REGISTRY_ERRORS as error:
            self._show_registry(str(error))
            return
        self._show_registry("")
        last, self._pointer = self._pointer, wanted
        behind = wanted is not None and wanted.bundle != self.bundle_id
        self._metrics.bundle_behind.set(behind)
        if wanted is not None and behind and self._retries.due(wanted.bundle):
            with suppress(SwapFailedError):  # told already
                await self._swap(wanted, went_back=last is not None and wanted.precedes(last))
        if wanted is not None and self._tidied != self.bundle_id:
            self._tidied = self.bundle_id
            with suppress(OSError):  # a copy more than needed is no trouble
                await asyncio.to_thread(self._tidy, wanted)

    def _wanted(self) -> Pointer | None:
        """The pointer; None where it names nothing, or what was withdrawn.

        It is read whole each time: NFS may keep a file's time and size for a minute, but not what is in it once it is
        opened anew. A registry that is a symbolic link is followed anew as well.
        """
        pointer = self.registry.pointer()
        if pointer is None or self.registry.record(pointer.bundle).withdrawn is not None:
            return None
        return pointer

    def _tidy(self, wanted: Pointer) -> None:
        """See to what a start needs that finds the registry away, and let go of other copies."""
        serving = self.bundle_id
        self.registry.save_offline_pointer(wanted if wanted.bundle == serving else Pointer(bundle=serving))
        self.registry.evict_copies(serving, wanted.bundle, *wanted.history[-1:])

    async def _swap(self, wanted: Pointer, *, went_back: bool) -> None:
        async with self.swapping:
            if wanted.bundle != self.bundle_id:  # a publish may have done it meanwhile
                self.take(await self.prepared(wanted.bundle), watched=not went_back)

    async def prepared(self, bundle_id: str) -> Ready:
        """Another bundle, ready to serve. SwapFailedError where it must not: logged, counted and kept for /bundles."""
        start = time.perf_counter()
        try:
            verify = self._settings.verify_bundle != "off"
            opened = await asyncio.to_thread(open_sealed, self.registry, bundle_id, self._settings, verify=verify)
            ready = Ready(opened, await self._made(opened))
        except (*REGISTRY_ERRORS, MemoryError) as error:
            raise self._fail(bundle_id, str(error) or type(error).__name__) from error
        self._metrics.bundle_swap_seconds.observe(time.perf_counter() - start)
        return ready

    async def _made(self, opened: Opened) -> Serving:
        service, settings = self._service, self._settings
        users = service.live.users_of(opened.bundle, service.cache)
        serving = await asyncio.to_thread(make_serving, opened.bundle, users, settings, self._metrics)
        service.live.attach(serving)
        await serving.neighbours.build()
        if opened.bundle.mapped:
            await asyncio.to_thread(page_in, opened.bundle, settings.warm_up_mb * MEGABYTE)
        await service.rules.terms(opened.bundle, serving.catalogue)  # InputError where they do not fit
        found = await warm_up(service, serving, service.recent.sample(), time.perf_counter)
        if told := found.complaint(settings.warm_up_p99_ms):
            raise InputError(told)
        return serving

    def take(self, ready: Ready, *, watched: bool) -> None:
        """The swap: one assignment. The bundle before ends when its last request has."""
        before = self.bundle_id
        self._service.serving = ready.serving
        self._service.answers.clear()
        self.opened, self.damage, self.trouble = ready.opened, [], None
        self._retries.clear()
        self._metrics.bundle_swaps.labels("done").inc()
        self._show()
        log.info("bundle taken up", bundle=self.bundle_id, before=before)
        if watched:
            self.on_taken()

    async def fall_back(self, why: str) -> bool:
        """Serve the newest earlier bundle that can be, though the pointer names this one; whether there was any."""
        damaged = self.bundle_id
        self._fail(damaged, why)
        trouble = self.trouble
        for bundle_id in reversed(await asyncio.to_thread(self.registry.rollback_targets)):
            with suppress(SwapFailedError):
                async with self.swapping:
                    self.take(await self.prepared(bundle_id), watched=False)
                self._retries.failed(damaged)
                self.trouble = trouble
                self._metrics.bundle_behind.set(1)
                return True
        return False

    def show_damage(self, damage: list[str]) -> None:
        """What is wrong with the files of the bundle that serves; empty: nothing is."""
        if damage and damage != self.damage:
            log.error("the bundle that serves is damaged on disk", bundle=self.bundle_id, damage=damage)
        self.damage = damage
        self._metrics.bundle_damaged.set(bool(damage))

    def _show_registry(self, away: str) -> None:
        """Why the registry cannot be read, logged once an outage; empty: it can."""
        if away and not self._away:
            log.error("the registry cannot be read", registry=str(self.registry), serving=self.bundle_id, error=away)
        elif self._away and not away:
            log.info("the registry can be read again", registry=str(self.registry))
        self._away = away
        self._metrics.registry_away.set(bool(away))

    def _show(self) -> None:
        manifest = self._service.serving.bundle.manifest
        self._metrics.bundle.info({"bundle_id": manifest.bundle_id, "model": manifest.model})
        self._metrics.bundle_created.set(manifest.created_at.timestamp())
        for name, recall in manifest.index.recall.items():
            self._metrics.index_recall.labels(name.removeprefix("recall@")).set(recall)
        self._metrics.bundle_behind.set(0)
        self._metrics.bundle_damaged.set(0)

    def _fail(self, bundle_id: str, error: str) -> SwapFailedError:
        self._retries.failed(bundle_id)
        self._metrics.bundle_swaps.labels("failed").inc()
        self.trouble = Trouble(bundle_id, self.now(), error)
        log.error("bundle not taken up", bundle=bundle_id, serving=self.bundle_id, error=error)
        return SwapFailedError(f"{bundle_id} cannot serve here: {error}")
