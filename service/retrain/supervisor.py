"""The background task of retraining: tries to become the leader; the leader runs jobs and checks the triggers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from shutil import rmtree

import structlog

from index.errors import InputError
from service.errors import ServiceError
from service.retrain.job import Job, Trigger
from service.retrain.job_runner import JobRunner, LeaseLostError, RetrainPaths
from service.retrain.job_store import JobStore
from service.retrain.triggers import Triggers
from service.telemetry.metrics import RetrainMetrics

RENEWALS_PER_LEASE = 3  # two may fail before the lease expires

log = structlog.get_logger()


@dataclass
class Supervisor:
    """Runs until it is cancelled. A training that is running then goes on, and the next leader follows it."""

    store: JobStore
    make_runner: Callable[[int], JobRunner]
    submit: Callable[[Trigger], Awaitable[Job | None]]
    count_new_events: Callable[[], Awaitable[int]]
    arm_problem: Callable[[], Awaitable[str]]
    triggers: Triggers
    metrics: RetrainMetrics
    clock: Callable[[], float]
    paths: RetrainPaths
    lease_s: float
    poll_s: float
    keep: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    waits_for: str = ""  # what is wrong with the arm that a due retraining would publish into

    async def run(self) -> None:
        """Lead whenever the lease is free."""
        while True:
            try:
                token = await self.store.acquire_lease(self.lease_s)
                if token is not None:
                    await self._lead(token)
            except LeaseLostError:
                log.warning("another replica leads the retraining now")
            except (ServiceError, InputError) as error:
                log.warning("retraining pauses", error=str(error))
            await self._sleep()

    async def _lead(self, token: int) -> None:
        self.metrics.retrain_leader.set(1)
        working = asyncio.create_task(self._run_jobs(token))
        renewing = asyncio.create_task(self._renew_lease(token))
        try:
            done, _ = await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
            self.metrics.retrain_leader.set(0)
            with suppress(ServiceError):
                await self.store.release_lease(token)

    async def _renew_lease(self, token: int) -> None:
        """LeaseLostError where another replica took the lease; a store that is briefly unavailable does not lose it."""
        attempts = RENEWALS_PER_LEASE
        while True:
            await asyncio.sleep(self.lease_s / RENEWALS_PER_LEASE)
            try:
                if not await self.store.renew_lease(token, self.lease_s):
                    raise LeaseLostError
                attempts = RENEWALS_PER_LEASE
            except ServiceError:
                attempts -= 1
                if attempts == 0:
                    raise

    async def _run_jobs(self, token: int) -> None:
        since = self.clock()
        while True:
            job = await self.store.running()
            if job is not None:
                await self._run_job(job, token)
            elif (trigger := await self._due_trigger(since)) is not None:
                log.info("retraining is due", trigger=trigger)
                await self.submit(trigger)
            else:
                await self._sleep()

    async def _run_job(self, job: Job, token: int) -> None:
        log.info("retraining", job=job.id, state=job.state, trigger=job.trigger)
        self.metrics.retrain_running.set(1)
        try:
            ended = await self.make_runner(token).run(job)
        finally:
            self.metrics.retrain_running.set(0)
        seconds = self.clock() - ended.created_at
        self.metrics.retrain_jobs.labels(ended.state).inc()
        self.metrics.retrain_seconds.set(seconds)
        log.info(
            "retraining ended",
            job=ended.id,
            state=ended.state,
            bundle=ended.bundle,
            reason=ended.reason,
            s=round(seconds),
        )
        await self._delete_old_folders()

    async def _due_trigger(self, since: float) -> Trigger | None:
        if not self.triggers.configured:
            return None
        new_events = await self.count_new_events()
        self.metrics.retrain_new_events.set(new_events)
        last = next(iter(await self.store.newest(1)), None)
        due = self.triggers.due(new_events=new_events, last=last, since=since, now=self.clock())
        return due if due is None or await self._has_arm() else None

    async def _has_arm(self) -> bool:
        problem = await self.arm_problem()
        if problem and problem != self.waits_for:
            log.warning("a retraining is due and waits for its arm", problem=problem)
        self.waits_for = problem
        return not problem

    async def _delete_old_folders(self) -> None:
        """Keep the folders of the newest ended jobs only: each holds a copy of the data."""
        jobs = await self.store.newest(1_000)
        for job in [job for job in jobs if job.has_ended][self.keep :]:
            await asyncio.to_thread(rmtree, self.paths.task_for(job).folder, ignore_errors=True)

    async def _sleep(self) -> None:
        """Wait for the poll interval, or less where a job is submitted or cancelled here."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), self.poll_s)
        self.wake.clear()
