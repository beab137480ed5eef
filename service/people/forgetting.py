"""Forgets a person everywhere, step by step. A step may be done again, so that a killed process goes on."""

import asyncio
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from index.bundle import BundleError
from index.registry import Registry
from service.errors import ServiceError
from service.events.log import EventLog
from service.people.forgotten_set import ForgottenSet, PeopleUnavailableError
from service.people.journal import Begun, Journal
from service.redis.client import FAILURES
from service.retrain.archive import Rewritten, forget_in_archive
from service.retrain.retraining import Retraining
from service.telemetry.metrics import UserMetrics
from service.users.vector_cache import VectorCache
from service.users.vector_keys import user_key

JOURNAL = "forgetting"  # a folder of the data folder
ARCHIVE = "events"  # in the folder of trainings
RETRY_S = 15.0  # between attempts to end what is pending
UNTOUCHED_S = 30.0  # a younger one is being done by the worker that began it

log = structlog.get_logger()


@dataclass(frozen=True)
class Receipt:
    """What was removed, and what is left to others."""

    receipt: str
    forgotten_at: float
    removed: dict[str, int]
    pending: dict[str, Any]


@dataclass
class Forgetting:
    """Forgets people in the log, the archive, the folders of trainings, and by `leave_out` in what serves.

    `leave_out` adds the person to the set of forgotten people, which clears caches everywhere.
    """

    log: EventLog
    forgotten: ForgottenSet
    leave_out: Callable[[str, int, str], Awaitable[None]]
    drop_cached: Callable[[str], None]
    vectors: VectorCache | None
    namespace: str
    registry: Registry
    retraining: Retraining | None
    trainings: Path  # the folder of trainings and of the archive
    journal: Journal
    metrics: UserMetrics
    clock: Callable[[], float] = time.time
    _running: dict[str, "asyncio.Task[Receipt]"] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # others have forgotten a person

    async def forget(self, user_id: str) -> Receipt:
        """Forget the person; ServiceError where a step fails, which is then repeated until it succeeds.

        It goes on where the caller does not wait.
        """
        now = self.clock()
        receipt = f"{datetime.fromtimestamp(now, UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(4)}"
        begun = Begun(receipt=receipt, at=now, user_id=user_id)
        try:
            await asyncio.to_thread(self.journal.write, begun)
        except OSError as error:
            raise PeopleUnavailableError(f"nothing was begun: {error.strerror or error}") from error
        self.metrics.forgettings_pending.inc()
        return await asyncio.shield(self._start(begun))

    def _start(self, begun: Begun) -> "asyncio.Task[Receipt]":
        task = asyncio.create_task(self._run(begun), name=f"forgetting {begun.receipt}")
        self._running[begun.receipt] = task
        task.add_done_callback(lambda done: self._ended(begun.receipt, done))
        return task

    def _ended(self, receipt: str, task: "asyncio.Task[Receipt]") -> None:
        self._running.pop(receipt, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.metrics.forgettings.labels("failed").inc()
            log.error("a person is not forgotten yet", receipt=receipt, error=repr(error)[:200])

    async def _run(self, begun: Begun) -> Receipt:
        """All steps. The log goes first: once the set clears the caches, nothing may fill them from old events."""
        user_id = begun.user_id
        try:
            first = await self.log.forget(user_id, begun.until or await self.log.last_position())
            if begun.until is None:
                begun = begun.model_copy(update={"until": await self.log.last_position()})
                await asyncio.to_thread(self.journal.write, begun)
            assert begun.until is not None
            archive = await self._clean_archive_of(user_id, begun.until)
            await self.leave_out(user_id, begun.until, begun.receipt)
            late = await self.log.forget(user_id, begun.until)  # impressions that were queued
            if late.events:
                self.drop_cached(user_id)
                await self._clean_archive_of(user_id, begun.until)
            await self.log.wipe(user_id)
            folders = await self._remove_trainings()
            vectors = await self._delete_vectors(user_id)
            begun = await self._finish(begun)
        except OSError as error:
            raise self._unfinished(begun, error.strerror or str(error)) from error
        except FAILURES as error:
            raise self._unfinished(begun, f"Redis: {error}") from error
        except ServiceError as error:
            raise self._unfinished(begun, error.detail) from error
        removed = {
            "events": first.events + late.events,
            "answers": first.answers + late.answers,
            "archived_events": archive.events,
            "archive_files": archive.files,
            "training_folders": folders,
            "cached_vectors": vectors,
        }
        self.metrics.forgettings.labels("done").inc()
        log.info("a person is forgotten", receipt=begun.receipt, **removed)
        return Receipt(begun.receipt, begun.at, removed, await self._pending(begun))

    async def _clean_archive_of(self, user_id: str, until: int) -> Rewritten:
        known = {user_id: until}
        return await asyncio.to_thread(
            forget_in_archive, self.trainings / ARCHIVE, lambda ids: known if user_id in set(ids) else {}
        )

    def _unfinished(self, begun: Begun, why: str) -> PeopleUnavailableError:
        return PeopleUnavailableError(f"{why}; receipt {begun.receipt}: the service repeats it until it succeeds")

    async def _finish(self, begun: Begun) -> Begun:
        """Note that only folders of running trainings are left, or that nothing is."""
        begun = begun.model_copy(update={"user_id": "", "trainings": tuple(await self._running_trainings())})
        if begun.trainings:
            await asyncio.to_thread(self.journal.write, begun)
        else:
            await asyncio.to_thread(self.journal.remove, begun)
            self.metrics.forgettings_pending.dec()
        return begun

    async def _running_trainings(self) -> list[str]:
        job = None if self.retraining is None else await self.retraining.store.running()
        return [] if job is None else [job.id]

    async def _remove_trainings(self) -> int:
        """Remove the folders of ended trainings: each holds a copy of the data. How many there were."""
        folders = await asyncio.to_thread(lambda: [path for path in self.trainings.glob("*") if path.is_dir()])
        running = await self._running_trainings()  # after the listing: a training that begins now is not in it
        ended = [path for path in folders if path.name not in (ARCHIVE, *running)]
        for path in ended:
            await asyncio.to_thread(shutil.rmtree, path)
        return len(ended)

    async def _delete_vectors(self, user_id: str) -> int:
        if self.vectors is None:
            return 0
        return await self.vectors.delete(await self.vector_keys(user_id))

    async def vector_keys(self, user_id: str) -> list[bytes]:
        """The keys of the person's vectors in Redis, for all bundles of the registry."""
        bundles = await asyncio.to_thread(self.registry.ids)
        return [user_key(self.namespace, bundle_id, user_id) for bundle_id in bundles]

    async def _pending(self, begun: Begun) -> dict[str, Any]:
        """What this service does not reach now."""

        def may_hold() -> list[str]:
            return [one for one in self.registry.ids() if not self._leaves_out(one, begun.receipt)]

        try:
            bundles = await asyncio.to_thread(may_hold)
        except OSError as error:
            log.warning("the registry cannot be listed for a receipt", error=str(error))
            bundles = []
        return {"bundles": bundles, "trainings": list(begun.trainings)}

    def _leaves_out(self, bundle_id: str, receipt: str) -> bool:
        try:
            return receipt in self.registry.manifest(bundle_id).forgotten
        except BundleError:
            return False

    async def run(self) -> None:
        """End what was begun and is pending, at start and then again and again, until cancelled."""
        at_least_s = 0.0  # at start, none is being done by this process
        while True:
            pending = await asyncio.to_thread(lambda: list(self.journal.pending()))
            self.metrics.forgettings_pending.set(len(pending))
            for begun in pending:
                if begun.receipt not in self._running and self.clock() - begun.at >= at_least_s:
                    await self._go_on(begun)
            at_least_s = UNTOUCHED_S
            await asyncio.sleep(RETRY_S)

    async def _go_on(self, begun: Begun) -> None:
        try:
            if begun.user_id:
                await asyncio.shield(self._start(begun))
            elif not set(begun.trainings) & set(await self._running_trainings()):
                await self._remove_folders(begun.trainings)
                await asyncio.to_thread(self.journal.remove, begun)
                self.metrics.forgettings_pending.dec()
        except (ServiceError, OSError) as error:
            log.warning("a forgetting is still pending", receipt=begun.receipt, error=repr(error)[:200])

    async def _remove_folders(self, names: Iterable[str]) -> None:
        for name in names:
            await asyncio.to_thread(shutil.rmtree, self.trainings / name, ignore_errors=True)

    async def clean_archive(self) -> None:
        """Remove from this machine's archive whom other replicas forget, at start and then, until cancelled."""
        while True:
            self.changed.clear()
            if self.forgotten.people.by_hash:
                try:
                    await asyncio.to_thread(self._clean_archive)
                except OSError as error:
                    log.warning("the archive of events cannot be rewritten", error=str(error))
            await self.changed.wait()

    def _clean_archive(self) -> Rewritten:
        return forget_in_archive(self.trainings / ARCHIVE, self.forgotten.people.positions)

    async def close(self) -> None:
        """Wait for what is being done; what fails is done at the next start."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)


def receipt_json(receipt: Receipt) -> Mapping[str, Any]:
    """The receipt as it is sent."""
    return asdict(receipt)
