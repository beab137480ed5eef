"""The retraining hook as the rest of the service sees it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from index.manifest import BundleError
from service.errors import ServiceError
from service.events.log import EventLog
from service.retrain.control import Control
from service.retrain.job import Job, Trigger, new_job_id
from service.retrain.launcher import Launcher
from service.retrain.work import Places

log = structlog.get_logger()


class RetrainingOffError(ServiceError):
    """Nothing to train on was named."""

    status = 409
    code = "retraining_off"


class AlreadyRunningError(ServiceError):
    """One job at a time."""

    status = 409
    code = "already_running"

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} is {job.state} since {job.created_at:.0f}; one retraining runs at a time")


class UnknownJobError(ServiceError):
    """There is no such job, or it was forgotten."""

    status = 404
    code = "unknown_job"


@dataclass(frozen=True)
class Retraining:
    """Jobs are asked for, shown and cancelled here, on any replica; the one that leads does the work."""

    control: Control
    launcher: Launcher
    events: EventLog
    places: Places
    clock: Callable[[], float]
    wake: asyncio.Event
    arguments: tuple[str, ...]
    warm_start: bool
    secret: str | None  # that webhooks are signed with

    async def submit(self, trigger: Trigger, asked_by: str) -> Job:
        """Ask for a job; AlreadyRunningError where one has not ended."""
        position = await self.events.last_position()
        now = self.clock()
        job = Job(
            id=new_job_id(now),
            trigger=trigger,
            asked_by=asked_by,
            created_at=now,
            events_position=position,
            launcher=self.launcher.name,
            arguments=await self._arguments(),
        )
        running = await self.control.submit(job)
        if running is not None:
            raise AlreadyRunningError(running)
        self.wake.set()
        return job

    async def trigger(self, trigger: Trigger) -> Job | None:
        """The same by itself; None where a caller was faster."""
        try:
            return await self.submit(trigger, trigger)
        except AlreadyRunningError:
            return None

    async def find(self, job_id: str) -> Job:
        """UnknownJobError where there is none."""
        job = await self.control.find(job_id)
        if job is None:
            raise UnknownJobError(f"there is no job {job_id[:80]!r}")
        return job

    async def tail(self, job: Job, lines: int) -> Sequence[str]:
        """The last lines of what the training said."""
        return await self.launcher.tail(self.places.task(job), job.handle, lines)

    async def cancel(self, job_id: str) -> Job:
        """Ask for the job's end; one that has ended stays as it is."""
        job = await self.find(job_id)
        if not job.has_ended:
            await self.control.tell(job_id, "cancel", "")
            self.wake.set()
        return job

    async def report(self, job_id: str, result: str) -> Job:
        """Take in what an outside system found, a JSON object with `bundle` or `reason`."""
        job = await self.find(job_id)
        if not job.has_ended:
            await self.control.tell(job_id, "result", result)
        return job

    async def count_new(self) -> int:
        """Events since the last job, or since what the bundle that serves was trained on."""
        last = next(iter(await self.control.newest(1)), None)
        position = max(last.events_position if last else 0, await asyncio.to_thread(self._trained_position))
        return await self.events.count_since(position)

    def _trained_position(self) -> int:
        registry = self.places.registry
        current = registry.current_id()
        try:
            return registry.manifest(current).events_position or 0 if current and registry.holds(current) else 0
        except BundleError:  # damaged since it was opened
            return 0

    async def _arguments(self) -> tuple[str, ...]:
        """The operator's, and the run of the last job that was published with the same ones, to begin from."""
        if not self.warm_start:
            return self.arguments
        for job in await self.control.newest(100):
            run = self.places.task(job).out / "run"
            if job.state == "published" and _own(job) == self.arguments and (run / RUN_RESULT).is_file():
                return (*self.arguments, WARM_START, str(run))
        return self.arguments


RUN_RESULT = "result.json"  # that of a finished run folder
WARM_START = "--warm-start"


def _own(job: Job) -> tuple[str, ...]:
    """Its arguments without the warm start."""
    return job.arguments[: job.arguments.index(WARM_START)] if WARM_START in job.arguments else job.arguments
