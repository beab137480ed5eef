"""Runs one job from queued to its end: export events, train, gate, publish. A new leader may repeat any step."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from index.errors import InputError
from index.forgotten import ForgottenPeople, forgotten_file
from index.gate import GateReport
from index.records import PointerMove
from index.registry import Registry
from index.storage import replace_file
from service.errors import ServiceError
from service.events.log import EventLog
from service.items.export import EncodedPictures
from service.items.store import ItemStore
from service.retrain.archive import archive_items, extend_archive, forget_in_archive
from service.retrain.job import Handle, Job, StageName, State
from service.retrain.job_store import JobStore, JobStoreUnavailableError
from service.retrain.launcher import Launcher, LauncherError, LauncherUnavailableError, TrainingOutcome, TrainingTask

RunGate = Callable[[str], Awaitable[GateReport]]
"""Runs the gate over a bundle of the registry, given its id."""

log = structlog.get_logger()


class ArmPublisher(Protocol):
    """The arms of the running experiment, as retraining needs them."""

    async def find(self, arm: str) -> str:
        """The arm as `experiment/arm`; ServiceError where it cannot get a bundle."""
        ...

    async def publish(self, arm: str, bundle_id: str, *, by: str) -> None:
        """Give the arm this bundle; ServiceError where that is not possible."""
        ...


class LeaseLostError(Exception):
    """Another replica leads now: this one must write nothing more for the job."""


class _JobCancelledError(Exception):
    """A caller cancelled the job."""


@dataclass(frozen=True)
class RetrainPaths:
    """The training data, the registry, and the folder of all jobs."""

    data: Path
    registry: Registry
    folder: Path

    @property
    def events(self) -> Path:
        """The archive of the event log."""
        return self.folder / "events"

    def task_for(self, job: Job) -> TrainingTask:
        """The job with the paths that its training uses."""
        return TrainingTask(job, self.data, self.events, self.registry, self.folder / job.id)


@dataclass
class JobRunner:
    """Runs a job stage by stage, and stores the result of each stage before the next begins."""

    store: JobStore
    token: int
    launcher: Launcher
    events: EventLog
    items: ItemStore | None
    pictures: EncodedPictures | None
    paths: RetrainPaths
    run_gate: RunGate
    arms: ArmPublisher
    clock: Callable[[], float]
    poll_s: float
    timeout_s: float
    forgotten: Callable[[], Collection[str]] = tuple  # elements of index/forgotten.py

    async def run(self, job: Job) -> Job:
        """Run the job to its end. LeaseLostError where another replica leads meanwhile; the training then goes on."""
        try:
            return await self._run_stages(job)
        except _JobCancelledError:
            return await self._end(await self._reload(job), "cancelled", "cancelled by request")
        except (LeaseLostError, JobStoreUnavailableError):
            raise  # no failure of the job: the next leader continues it
        except (InputError, ServiceError) as error:
            return await self._end(await self._reload(job), "failed", str(error))
        except Exception as error:  # the outermost edge of a job: an unforeseen error must not block the next jobs
            log.error("retraining failed unexpectedly", job=job.id, exc_info=error)
            return await self._end(await self._reload(job), "failed", f"unexpected error: {error!r}")

    async def _run_stages(self, job: Job) -> Job:
        if job.bundle is None:
            if job.handle is None:
                job = await self._start_training(job)
            outcome = await self._await_training(job)
            if outcome.bundle is None:
                return await self._end(job, "failed", outcome.reason)
            job = job.model_copy(update={"bundle": outcome.bundle})
        job = await self._enter_stage(job, "gating", "gating")
        report = await self.run_gate(job.bundle or "")
        job = job.model_copy(update={"gate": report})
        if not report.passed:
            why = "; ".join(f"{check.name}: {check.found} (required: {check.required})" for check in report.failures)
            return await self._end(job, "refused", f"the gate refused {job.bundle}: {why}")
        await self._check_cancelled(job)
        job = await self._enter_stage(job, "gating", "publishing")
        if job.arm is not None:
            return await self._publish_into_arm(job, job.arm, report.bundle_id)
        move = PointerMove(at=datetime.fromtimestamp(self.clock(), UTC), by=job.asked_by, why=f"retraining {job.id}")
        await asyncio.to_thread(self.paths.registry.publish, report.bundle_id, move)
        return await self._end(job, "published", "")

    async def _publish_into_arm(self, job: Job, arm: str, bundle_id: str) -> Job:
        try:
            await self.arms.publish(arm, bundle_id, by=job.asked_by)
        except ServiceError as error:  # such as an arm that is gone: its bundle is published to no other users
            reason = f"{bundle_id} is registered, and was not published into arm {arm}: {error.detail}"
            return await self._end(job, "refused", reason)
        return await self._end(job, "published", "")

    async def _start_training(self, job: Job) -> Job:
        """Start the training; a service that died before it stored the handle may have started it already."""
        if job.stages and job.stages[-1].name == "training":
            await self._check_cancelled_unrecorded(job)
        else:
            job = await self._export(job)
        handle = await self.launcher.start(self.paths.task_for(job))
        return await self._save(job.model_copy(update={"handle": handle}))

    async def _check_cancelled_unrecorded(self, job: Job) -> None:
        try:
            await self._check_cancelled(job)
        except _JobCancelledError:
            task = self.paths.task_for(job)
            if handle := await self.launcher.find(task):
                await self._cancel_training(task, handle)
            raise

    async def _export(self, job: Job) -> Job:
        await self._check_cancelled(job)
        job = await self._enter_stage(job, "running", "exporting")
        task = self.paths.task_for(job)
        await asyncio.to_thread(task.folder.mkdir, parents=True, exist_ok=True)
        position = await extend_archive(task.events, self.events)
        await self._leave_out_forgotten(task)
        if self.items is not None:
            await archive_items(task.items, self.items, self.pictures)
        before = tuple(await asyncio.to_thread(self.paths.registry.ids))
        job = job.model_copy(update={"events_position": position, "bundles_before": before})
        return await self._enter_stage(job, "running", "training")

    async def _leave_out_forgotten(self, task: TrainingTask) -> None:
        """Remove forgotten people from the archive, which may be another replica's, and name them for the trainer."""
        elements = self.forgotten()
        if elements:
            people = ForgottenPeople.of(elements)
            await asyncio.to_thread(forget_in_archive, task.events, people.positions)
            await asyncio.to_thread(replace_file, task.forget, forgotten_file(elements))

    async def _await_training(self, job: Job) -> TrainingOutcome:
        task, handle = self.paths.task_for(job), job.handle or {}
        started_at = next(stage.started_at for stage in job.stages if stage.name == "training")
        while True:
            try:
                await self._check_cancelled(job)
                outcome = await self.launcher.poll(task, handle, await self.store.messages(job.id))
            except _JobCancelledError:
                await self._cancel_training(task, handle)
                raise
            except (LauncherError, LauncherUnavailableError) as error:
                log.warning("training cannot be polled now", job=job.id, error=error.detail)
                outcome = None
            if outcome is not None:
                return outcome
            if self.clock() - started_at > self.timeout_s:
                await self._cancel_training(task, handle)
                return TrainingOutcome(None, f"the training took longer than {self.timeout_s:g} s and was ended")
            await asyncio.sleep(self.poll_s)

    async def _cancel_training(self, task: TrainingTask, handle: Handle) -> None:
        try:
            await self.launcher.cancel(task, handle)
        except (LauncherError, LauncherUnavailableError) as error:  # the job ends all the same: nothing is published
            log.warning("training could not be cancelled", job=task.job.id, error=error.detail)

    async def _check_cancelled(self, job: Job) -> None:
        if "cancel" in await self.store.messages(job.id):
            raise _JobCancelledError

    async def _reload(self, job: Job) -> Job:
        return await self.store.find(job.id) or job

    async def _enter_stage(self, job: Job, state: State, stage: StageName) -> Job:
        return await self._save(job.enter_stage(state, stage, self.clock()))

    async def _end(self, job: Job, state: State, reason: str) -> Job:
        return await self._save(job.end(state, self.clock(), reason))

    async def _save(self, job: Job) -> Job:
        if not await self.store.save(job, self.token):
            raise LeaseLostError(job.id)
        return job
