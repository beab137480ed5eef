"""One job, from queued to its end. Every step may be taken again by a successor."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from index.errors import InputError
from index.gate import GateReport
from index.records import PointerMove
from index.registry import Registry
from service.errors import ServiceError
from service.events.log import EventLog
from service.retrain.archive import extend_archive
from service.retrain.control import Control, ControlUnavailableError
from service.retrain.job import Handle, Job, StageName, State
from service.retrain.launcher import Ended, Launcher, LauncherError, LauncherUnavailableError, Task

Judge = Callable[[str], Awaitable[GateReport]]
"""Asks the gate about a bundle of the registry, by its id."""

log = structlog.get_logger()


class LeaseLostError(Exception):
    """Another replica leads now: nothing more may be written for the job."""


class CancelledByCallError(Exception):
    """Somebody asked for the job's end."""


@dataclass(frozen=True)
class Places:
    """Where things lie."""

    data: Path
    registry: Registry
    folder: Path  # of all jobs

    @property
    def events(self) -> Path:
        """The archive of the event log."""
        return self.folder / "events"

    def task(self, job: Job) -> Task:
        """All paths of one job."""
        return Task(job, self.data, self.events, self.registry, self.folder / job.id)


@dataclass
class Work:
    """Carries a job through its stages; what it found is in the store before the next stage begins."""

    control: Control
    token: int
    launcher: Launcher
    events: EventLog
    places: Places
    judge: Judge
    clock: Callable[[], float]
    poll_s: float
    timeout_s: float

    async def carry_out(self, job: Job) -> Job:
        """The job at its end. LeaseLostError where it is another's by now; then the training goes on untouched."""
        try:
            return await self._carry_out(job)
        except CancelledByCallError:
            return await self._end(await self._current(job), "cancelled", "cancelled by a call")
        except ControlUnavailableError:
            raise  # not the job's fault: whoever leads next goes on with it
        except (InputError, ServiceError) as error:
            return await self._end(await self._current(job), "failed", str(error))

    async def _carry_out(self, job: Job) -> Job:
        if job.bundle is None:
            if job.handle is None:
                job = await self._begin(job)
            ended = await self._follow(job)
            if ended.bundle is None:
                return await self._end(job, "failed", ended.reason)
            job = job.model_copy(update={"bundle": ended.bundle})
        job = await self._enter(job, "gating", "gating")
        report = await self.judge(job.bundle or "")
        job = job.model_copy(update={"gate": report})
        if not report.passed:
            why = "; ".join(f"{check.name}: {check.found} (required: {check.required})" for check in report.failures)
            return await self._end(job, "refused", f"the gate refused {job.bundle}: {why}")
        await self._check_cancelled(job)
        job = await self._enter(job, "gating", "publishing")
        move = PointerMove(at=datetime.fromtimestamp(self.clock(), UTC), by=job.asked_by, why=f"retraining {job.id}")
        await asyncio.to_thread(self.places.registry.publish, report.bundle_id, move)
        return await self._end(job, "published", "")

    async def _begin(self, job: Job) -> Job:
        await self._check_cancelled(job)
        job = await self._enter(job, "running", "exporting")
        task = self.places.task(job)
        await asyncio.to_thread(task.folder.mkdir, parents=True, exist_ok=True)
        reached = await extend_archive(task.events, self.events)
        before = tuple(await asyncio.to_thread(self.places.registry.ids))
        job = job.model_copy(update={"events_position": reached, "bundles_before": before})
        job = await self._enter(job, "running", "training")
        handle = await self.launcher.start(self.places.task(job))
        return await self._save(job.model_copy(update={"handle": handle}))

    async def _follow(self, job: Job) -> Ended:
        task, handle = self.places.task(job), job.handle or {}
        began = next(stage.started_at for stage in job.stages if stage.name == "training")
        while True:
            try:
                await self._check_cancelled(job)
                ended = await self.launcher.ended(task, handle, await self.control.told(job.id))
            except CancelledByCallError:
                await self._cancel(task, handle)
                raise
            except (LauncherError, LauncherUnavailableError) as error:
                log.warning("training cannot be followed just now", job=job.id, error=error.detail)
                ended = None
            if ended is not None:
                return ended
            if self.clock() - began > self.timeout_s:
                await self._cancel(task, handle)
                return Ended(None, f"the training took longer than {self.timeout_s:g} s and was ended")
            await asyncio.sleep(self.poll_s)

    async def _cancel(self, task: Task, handle: Handle) -> None:
        try:
            await self.launcher.cancel(task, handle)
        except (LauncherError, LauncherUnavailableError) as error:  # what it makes is not published all the same
            log.warning("training could not be ended", job=task.job.id, error=error.detail)

    async def _check_cancelled(self, job: Job) -> None:
        if "cancel" in await self.control.told(job.id):
            raise CancelledByCallError

    async def _current(self, job: Job) -> Job:
        return await self.control.find(job.id) or job

    async def _enter(self, job: Job, state: State, stage: StageName) -> Job:
        return await self._save(job.at(state, stage, self.clock()))

    async def _end(self, job: Job, state: State, reason: str) -> Job:
        return await self._save(job.ended(state, self.clock(), reason))

    async def _save(self, job: Job) -> Job:
        if not await self.control.save(job, self.token):
            raise LeaseLostError(job.id)
        return job
