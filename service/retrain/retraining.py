"""The retraining hook as the rest of the service sees it: submit, list, cancel and complete jobs on any replica."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from index.errors import BundleError
from service.errors import ServiceError
from service.events.log import EventLog
from service.retrain.job import Job, Trigger, new_job_id
from service.retrain.job_runner import ArmPublisher, RetrainPaths
from service.retrain.job_store import JobStore
from service.retrain.launcher import Launcher

WARM_START = "--warm-start"  # the trainer's option for the run folder to start from
RUN_RESULT = "result.json"  # written last into a run folder: the run is complete

log = structlog.get_logger()


class RetrainingOffError(ServiceError):
    """Retraining is not configured."""

    status = 409
    code = "retraining_off"


class AlreadyRunningError(ServiceError):
    """Another job has not ended."""

    status = 409
    code = "already_running"

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} is {job.state} since {job.created_at:.0f}; one retraining runs at a time")


class UnknownJobError(ServiceError):
    """The store has no such job, or deleted it with old ones."""

    status = 404
    code = "unknown_job"


class ResultKnownError(ServiceError):
    """The job has its result, or has ended without one."""

    status = 409
    code = "result_known"


@dataclass(frozen=True)
class Retraining:
    """Submits, finds and cancels jobs, on any replica; the leader's supervisor runs them."""

    store: JobStore
    launcher: Launcher
    events: EventLog
    paths: RetrainPaths
    clock: Callable[[], float]
    wake: asyncio.Event
    arguments: tuple[str, ...]
    warm_start: bool
    secret: str | None  # that webhooks are signed with; None where no outside system trains
    arms: ArmPublisher
    default_arm: str  # that retrainings publish into; empty: to everybody

    async def submit(self, trigger: Trigger, asked_by: str, arm: str | None = None) -> Job:
        """Create a job whose bundle is published into an arm, if empty to everybody, by default as configured.

        AlreadyRunningError where another has not ended; those of ArmPublisher.find too.
        """
        into = self.default_arm if arm is None else arm
        found = await self.arms.find(into) if into else None
        position = await self.events.last_position()
        now = self.clock()
        job = Job(
            id=new_job_id(now),
            trigger=trigger,
            asked_by=asked_by,
            created_at=now,
            events_position=position,
            launcher=self.launcher.name,
            arguments=await self._trainer_arguments(),
            arm=found,
        )
        running = await self.store.submit(job)
        if running is not None:
            raise AlreadyRunningError(running)
        self.wake.set()
        return job

    async def submit_automatically(self, trigger: Trigger) -> Job | None:
        """Create a job for a trigger; None where another has not ended."""
        try:
            return await self.submit(trigger, trigger)
        except AlreadyRunningError:
            return None

    async def arm_problem(self) -> str:
        """Why the configured arm cannot get a bundle now; empty where it can, or none is configured."""
        try:
            if self.default_arm:
                await self.arms.find(self.default_arm)
        except ServiceError as error:
            return error.detail
        return ""

    async def find(self, job_id: str) -> Job:
        """The job; UnknownJobError where there is none."""
        job = await self.store.find(job_id)
        if job is None:
            raise UnknownJobError(f"there is no job {job_id[:80]!r}")
        return job

    async def log_tail(self, job: Job, lines: int) -> Sequence[str]:
        """The last lines of the training's log."""
        return await self.launcher.log_tail(self.paths.task_for(job), job.handle, lines)

    async def cancel(self, job_id: str) -> Job:
        """Request the end of the job; an ended job is returned unchanged."""
        job = await self.find(job_id)
        if not job.has_ended:
            await self.store.post_message(job_id, "cancel", "")
            self.wake.set()
        return job

    async def record_result(self, job_id: str, result: str) -> Job:
        """Store the result that an outside system posted: a JSON object with `bundle` or `reason`.

        ResultKnownError where the job has ended or has its result: on whichever replica, only one is taken.
        """
        job = await self.find(job_id)
        if job.has_ended or not await self.store.post_message(job_id, "result", result):
            raise ResultKnownError(f"job {job.id} takes no further result; it is {job.state}")
        return job

    async def count_new_events(self) -> int:
        """Events since the last job, or since those that the published bundle was trained on."""
        last = next(iter(await self.store.newest(1)), None)
        position = max(last.events_position if last else 0, await asyncio.to_thread(self._trained_position))
        return await self.events.count_since(position)

    def _trained_position(self) -> int:
        registry = self.paths.registry
        current = registry.current_id()
        try:
            return registry.manifest(current).events_position or 0 if current and registry.holds(current) else 0
        except BundleError:  # damaged since it was opened
            return 0

    async def _trainer_arguments(self) -> tuple[str, ...]:
        """The operator's arguments and, with `warm_start`, the run of the last published job that had the same."""
        if not self.warm_start:
            return self.arguments
        for job in await self.store.newest(100):
            run = self.paths.task_for(job).out / "run"
            if job.state == "published" and _operator_arguments(job) == self.arguments and (run / RUN_RESULT).is_file():
                return (*self.arguments, WARM_START, str(run))
        return self.arguments


def _operator_arguments(job: Job) -> tuple[str, ...]:
    """The job's arguments without the warm start."""
    return job.arguments[: job.arguments.index(WARM_START)] if WARM_START in job.arguments else job.arguments
