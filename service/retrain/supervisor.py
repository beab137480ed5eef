"""The one background task: holds the lease where it can, and as the leader works on jobs and watches the triggers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from shutil import rmtree

import structlog

from index.errors import InputError
from service.errors import ServiceError
from service.retrain.control import Control
from service.retrain.job import Job, Trigger
from service.retrain.triggers import Triggers
from service.retrain.work import LeaseLostError, Places, Work
from service.telemetry.metrics import Metrics

SHARE = 3  # renewals a lease: two may fail before it runs out

log = structlog.get_logger()


@dataclass
class Supervisor:
    """Runs until it is cancelled. A training that is under way then goes on, and whoever leads next takes it up."""

    control: Control
    make_work: Callable[[int], Work]
    submit: Callable[[Trigger], Awaitable[Job | None]]
    count_new: Callable[[], Awaitable[int]]
    triggers: Triggers
    metrics: Metrics
    clock: Callable[[], float]
    places: Places
    lease_s: float
    poll_s: float
    keep: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Lead whenever nobody else does."""
        while True:
            try:
                token = await self.control.lead(self.lease_s)
                if token is not None:
                    await self._lead(token)
            except LeaseLostError:
                log.warning("another replica leads the retraining now")
            except (ServiceError, InputError) as error:
                log.warning("retraining pauses", error=str(error))
            except Exception as error:  # the outermost edge of this task: it must outlive whatever happened
                log.error("retraining failed unexpectedly", exc_info=error)
            await self._rest()

    async def _lead(self, token: int) -> None:
        self.metrics.retrain_leader.set(1)
        leading = asyncio.create_task(self._work(token))
        renewing = asyncio.create_task(self._renew(token))
        try:
            done, _ = await asyncio.wait((leading, renewing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (leading, renewing):
                task.cancel()
            await asyncio.gather(leading, renewing, return_exceptions=True)
            self.metrics.retrain_leader.set(0)
            with suppress(ServiceError):
                await self.control.leave(token)

    async def _renew(self, token: int) -> None:
        """LeaseLostError where another took the lease; a store that is away for a moment is no loss yet."""
        left = SHARE
        while True:
            await asyncio.sleep(self.lease_s / SHARE)
            try:
                if not await self.control.renew(token, self.lease_s):
                    raise LeaseLostError
                left = SHARE
            except ServiceError:
                left -= 1
                if left == 0:
                    raise

    async def _work(self, token: int) -> None:
        since = self.clock()
        while True:
            job = await self.control.running()
            if job is not None:
                await self._carry_out(job, token)
            elif (trigger := await self._due(since)) is not None:
                log.info("retraining is due", trigger=trigger)
                await self.submit(trigger)
            else:
                await self._rest()

    async def _carry_out(self, job: Job, token: int) -> None:
        log.info("retraining", job=job.id, state=job.state, trigger=job.trigger)
        self.metrics.retrain_running.set(1)
        try:
            ended = await self.make_work(token).carry_out(job)
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
        await self._tidy()

    async def _due(self, since: float) -> Trigger | None:
        if not self.triggers.any:
            return None
        new_events = await self.count_new()
        self.metrics.retrain_new_events.set(new_events)
        last = next(iter(await self.control.newest(1)), None)
        return self.triggers.due(new_events=new_events, last=last, since=since, now=self.clock())

    async def _tidy(self) -> None:
        """Remove the folders of old jobs: each holds a copy of the data."""
        jobs = await self.control.newest(1_000)
        for job in [job for job in jobs if job.has_ended][self.keep :]:
            await asyncio.to_thread(rmtree, self.places.task(job).folder, ignore_errors=True)

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), self.poll_s)
        self.wake.clear()
