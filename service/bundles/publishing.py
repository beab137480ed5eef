"""Publishes a bundle or rolls back: gate, prepare, move the pointer, swap, notify replicas."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from index.errors import InputError
from index.gate_report import GateReport
from index.records import PointerMove
from service.bundles.bundle_errors import (
    GateRefusedError,
    PublishingBusyError,
    RegistryError,
    RollbackRefusedError,
    SwapFailedError,
    UnknownBundleError,
)
from service.bundles.gate_process import GateRunner
from service.bundles.swapper import REGISTRY_ERRORS, BundleSwapper
from service.redis.pubsub import PubSub
from service.workers.siblings import Siblings

T = TypeVar("T")
POINTER_MOVED = "bundle"  # the kind of message that makes replicas and workers poll the pointer
WORKERS_S = 60.0  # a publish waits so long until the other workers have swapped, too


@dataclass(frozen=True)
class PublishOutcome:
    """What a publish or a rollback did."""

    bundle: str  # the one that the pointer names now
    swapped: bool  # whether this process swapped to it
    report: GateReport | None = None
    forced: bool = False


class Publishing:
    """Runs one publish or rollback at a time. An equal request joins the running one; any other is refused."""

    def __init__(
        self, swapper: BundleSwapper, gate: GateRunner, pubsub: PubSub | None, siblings: Siblings | None
    ) -> None:
        self._swapper = swapper
        self._siblings = siblings
        if siblings is not None:
            siblings.handlers[POINTER_MOVED] = self._follow_worker
        self._gate = gate
        self._pubsub = pubsub
        self.registry = swapper.registry
        self._running: tuple[str, asyncio.Task[PublishOutcome]] | None = None
        if pubsub is not None:
            pubsub.handlers[POINTER_MOVED] = lambda _: swapper.poll_now()

    async def publish(self, bundle_id: str, *, by: str, force: bool = False) -> PublishOutcome:
        """Publish a bundle to all replicas; with `force` even where the gate refuses it.

        A bundle that this process cannot serve is never published. Publishing the bundle that serves does nothing.
        Raises GateRefusedError, GateFailedError, SwapFailedError, UnknownBundleError, PublishingBusyError,
        RegistryError.
        """
        name = f"publish {bundle_id}{' by force' if force else ''}"
        return await self._run_exclusively(name, partial(self._publish, bundle_id, by, force))

    async def roll_back(self, *, by: str, leaving: str | None = None) -> PublishOutcome:
        """Publish the previous bundle again; with `leaving` only while that bundle is published."""
        name = f"rollback of {leaving or 'the published bundle'}"
        return await self._run_exclusively(name, partial(self._roll_back, by, leaving))

    async def close(self) -> None:
        """Cancel the running publish or rollback. The registry changes in one step, so it is left consistent."""
        if self._running is not None:
            self._running[1].cancel()
            await asyncio.gather(self._running[1], return_exceptions=True)

    async def _run_exclusively(
        self, name: str, work: Callable[[], Coroutine[Any, Any, PublishOutcome]]
    ) -> PublishOutcome:
        if self._running is None:
            task = asyncio.create_task(work())
            task.add_done_callback(self._clear_running)
            self._running = (name, task)
        elif self._running[0] != name:
            raise PublishingBusyError(f"{self._running[0]} is under way")
        return await asyncio.shield(self._running[1])  # a caller that disconnects does not cancel it

    def _clear_running(self, task: "asyncio.Task[PublishOutcome]") -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # retrieved, as every caller may have disconnected

    async def _publish(self, bundle_id: str, by: str, force: bool) -> PublishOutcome:
        if not await self.with_registry(self.registry.holds, bundle_id):
            raise UnknownBundleError(f"the registry has no bundle {bundle_id[:120]!r}; GET /bundles lists them")
        swapper = self._swapper
        published = await self.with_registry(self.registry.current_id)
        record = await self.with_registry(self.registry.record, bundle_id)
        if published == bundle_id == swapper.bundle_id and record.withdrawn is None:
            return PublishOutcome(bundle_id, swapped=False, report=None if record.gate is None else record.gate.report)
        try:
            report = await self._gate.run(bundle_id, force=force)
        except REGISTRY_ERRORS as error:
            raise RegistryError(str(error)) from error
        if not report.passed and not force:
            raise GateRefusedError(report)
        async with swapper.swapping:
            prepared = None if bundle_id == swapper.bundle_id else await swapper.prepare(bundle_id)
            failed = ", ".join(check.name for check in report.failures)
            move = PointerMove(at=swapper.now(), by=by, why=f"forced, though {failed} failed" if failed else "")
            await self.with_registry(self.registry.publish, bundle_id, move)
            if prepared is not None:
                swapper.swap_to(prepared, canary=True)
        await self.notify(bundle_id)
        return PublishOutcome(bundle_id, swapped=prepared is not None, report=report, forced=not report.passed)

    async def _roll_back(self, by: str, leaving: str | None) -> PublishOutcome:
        swapper, before = self._swapper, self._swapper.bundle_id
        move = PointerMove(at=swapper.now(), by=by, why="rolled back to")
        try:
            target = await asyncio.to_thread(partial(self.registry.rollback, move, leaving=leaving))
        except InputError as error:
            raise RollbackRefusedError(str(error)) from error
        await asyncio.gather(self.notify(target), self._swap_as_published())
        if swapper.bundle_id != target:
            reason = "" if swapper.failure is None else f": {swapper.failure.error}"
            raise SwapFailedError(f"the pointer names {target}, but {swapper.bundle_id} serves here{reason}")
        return PublishOutcome(target, swapped=target != before)

    async def notify(self, bundle_id: str) -> None:
        """Make the other replicas poll the pointer at once; the other workers have swapped, or WORKERS_S are over."""
        if self._pubsub is not None:
            self._pubsub.send(POINTER_MOVED, [bundle_id])
        if self._siblings is not None:
            await self._siblings.ask(POINTER_MOVED, [bundle_id], within_s=WORKERS_S)

    async def _follow_worker(self, _: list[str]) -> bytes:
        """Called by a worker that has moved the pointer."""
        await self._swap_as_published()
        return self._swapper.bundle_id.encode()

    async def _swap_as_published(self) -> None:
        self._swapper.poll_now()  # clears the backoff of an earlier failure
        await self._swapper.poll()

    async def with_registry(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Run an operation of the registry in a thread; RegistryError where it fails."""
        try:
            return await asyncio.to_thread(operation, *arguments)
        except REGISTRY_ERRORS as error:
            raise RegistryError(str(error)) from error
