"""Publish and rollback by call, one at a time in a process: gate, own swap made ready, pointer, swap, news."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from index.errors import InputError
from index.gate_report import GateReport
from index.records import PointerMove
from service.bundles.errors import (
    GateRefusedError,
    PublishingBusyError,
    RegistryError,
    RollbackRefusedError,
    SwapFailedError,
    UnknownBundleError,
)
from service.bundles.gate_process import Gate
from service.bundles.swapper import REGISTRY_ERRORS, Holder

if TYPE_CHECKING:
    from service.state import Service

T = TypeVar("T")
NEWS = "bundle"  # the kind of signal that says: look at the pointer


@dataclass(frozen=True)
class Done:
    """What a publish or a rollback did."""

    bundle: str  # that the pointer names now
    swapped: bool  # whether this process took it up by this call
    report: GateReport | None = None
    forced: bool = False


class Publishing:
    """Whoever asks for what is under way already waits for it; anything else is refused until it is done."""

    def __init__(self, service: "Service", holder: Holder, gate: Gate) -> None:
        self._service = service
        self._holder = holder
        self._gate = gate
        self._registry = holder.registry
        self._working: tuple[str, asyncio.Task[Done]] | None = None
        if service.live.signals is not None:
            service.live.signals.handlers[NEWS] = lambda _: holder.look()

    async def publish(self, bundle_id: str, *, by: str, force: bool = False) -> Done:
        """Let a bundle serve, here and on all replicas; with `force` though the gate refuses it.

        Nothing is published that fails the gate or that this process could not take up. What serves already is done
        already. GateRefusedError, SwapFailedError, UnknownBundleError, PublishingBusyError, RegistryError, GateFailed.
        """
        what = f"publish {bundle_id}{' by force' if force else ''}"
        return await self._alone(what, partial(self._publish, bundle_id, by, force))

    async def roll_back(self, *, by: str, leaving: str | None = None) -> Done:
        """Let the bundle serve that served before; nothing is done where another than `leaving` serves."""
        return await self._alone(f"rollback of {leaving or 'what serves'}", partial(self._roll_back, by, leaving))

    async def close(self) -> None:
        """End what is under way; the registry is changed in one step, so it is before it or after it."""
        if self._working is not None:
            self._working[1].cancel()
            await asyncio.gather(self._working[1], return_exceptions=True)

    async def _alone(self, what: str, work: Callable[[], Coroutine[Any, Any, Done]]) -> Done:
        if self._working is None:
            task = asyncio.create_task(work())
            task.add_done_callback(self._ended)
            self._working = (what, task)
        elif self._working[0] != what:
            raise PublishingBusyError(f"{self._working[0]} is under way")
        return await asyncio.shield(self._working[1])  # a caller that leaves does not end it

    def _ended(self, task: "asyncio.Task[Done]") -> None:
        self._working = None
        if not task.cancelled():
            task.exception()  # looked at, should every caller have left

    async def _publish(self, bundle_id: str, by: str, force: bool) -> Done:
        if not await self.do(self._registry.holds, bundle_id):
            raise UnknownBundleError(f"the registry has no bundle {bundle_id[:120]!r}; GET /bundles lists them")
        holder = self._holder
        current, record = await self.do(self._registry.current_id), await self.do(self._registry.record, bundle_id)
        if current == bundle_id == holder.bundle_id and record.withdrawn is None:
            return Done(bundle_id, swapped=False, report=None if record.gate is None else record.gate.report)
        try:
            report = await self._gate.judge(bundle_id, force=force)
        except REGISTRY_ERRORS as error:
            raise RegistryError(str(error)) from error
        if not report.passed and not force:
            raise GateRefusedError(report)
        async with holder.swapping:
            ready = None if bundle_id == holder.bundle_id else await holder.prepared(bundle_id)
            failed = ", ".join(check.name for check in report.failures)
            move = PointerMove(at=holder.now(), by=by, why=f"forced, though {failed} failed" if failed else "")
            await self.do(self._registry.publish, bundle_id, move)
            if ready is not None:
                holder.take(ready, watched=True)
        self.tell(bundle_id)
        return Done(bundle_id, swapped=ready is not None, report=report, forced=not report.passed)

    async def _roll_back(self, by: str, leaving: str | None) -> Done:
        holder, before = self._holder, self._holder.bundle_id
        move = PointerMove(at=holder.now(), by=by, why="rolled back to")
        try:
            target = await asyncio.to_thread(partial(self._registry.rollback, move, leaving=leaving))
        except InputError as error:
            raise RollbackRefusedError(str(error)) from error
        self.tell(target)
        holder.look()  # whatever failed before is tried again
        await holder.settle()
        if holder.bundle_id != target:
            told = "" if holder.trouble is None else f": {holder.trouble.error}"
            raise SwapFailedError(f"the pointer names {target}, but {holder.bundle_id} serves here{told}")
        return Done(target, swapped=target != before)

    def tell(self, bundle_id: str) -> None:
        """Let the other replicas look at the pointer now and not at their next look."""
        if self._service.live.signals is not None:
            self._service.live.signals.send(NEWS, [bundle_id])

    async def do(self, change: Callable[..., T], *arguments: Any) -> T:
        """Something with the registry, in a thread; RegistryError where it cannot be done."""
        try:
            return await asyncio.to_thread(change, *arguments)
        except REGISTRY_ERRORS as error:
            raise RegistryError(str(error)) from error
