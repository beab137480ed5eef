"""The record of one retraining job, as stored and as returned by /retrain."""

import secrets
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from index.gate_report import GateReport

State = Literal["queued", "running", "gating", "published", "refused", "failed", "cancelled"]
Trigger = Literal["call", "events", "schedule"]
StageName = Literal["exporting", "training", "gating", "publishing"]
Handle = dict[str, str | int]
"""What a launcher needs to find a training again after the service restarts."""

ENDED: frozenset[State] = frozenset({"published", "refused", "failed", "cancelled"})
MAX_REASON_CHARS = 2_000


class Stage(BaseModel):
    """A step of a job with its start and end (unix seconds)."""

    model_config = ConfigDict(frozen=True)

    name: StageName
    started_at: float
    ended_at: float | None = None


class Job(BaseModel):
    """One retraining job. A change makes a new record, which replaces the stored one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    trigger: Trigger
    asked_by: str  # the name of the caller's API key, or the trigger
    created_at: float
    events_position: int  # of the newest event when the job was created
    launcher: str
    arguments: tuple[str, ...] = ()  # for the trainer, in addition to those of every retraining
    arm: str | None = None  # `experiment/arm` that gets the bundle; None: it is published to everybody
    state: State = "queued"
    stages: tuple[Stage, ...] = ()
    handle: Handle | None = None
    bundles_before: tuple[str, ...] = ()
    bundle: str | None = None
    gate: GateReport | None = None
    reason: str = ""  # why it was refused, failed or cancelled

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def enter_stage(self, state: State, stage: StageName, now: float) -> "Job":
        """A copy in this state and stage; where the stage has begun already only the state changes."""
        if self.stages and self.stages[-1].name == stage:
            return self.model_copy(update={"state": state})
        stages = (*self._finished_stages(now), Stage(name=stage, started_at=now))
        return self.model_copy(update={"state": state, "stages": stages})

    def end(self, state: State, now: float, reason: str = "") -> "Job":
        """A copy that has ended in this state."""
        stages = self._finished_stages(now)
        return self.model_copy(
            update={"state": state, "stages": stages, "reason": reason[:MAX_REASON_CHARS], "handle": None}
        )

    def _finished_stages(self, now: float) -> tuple[Stage, ...]:
        if not self.stages or self.stages[-1].ended_at is not None:
            return self.stages
        return (*self.stages[:-1], self.stages[-1].model_copy(update={"ended_at": now}))


def result_path(job_id: str) -> str:
    """The path that an outside system posts the job's result to, and signs."""
    return f"/retrain/{quote(job_id, safe='')}/result"


def new_job_id(now: float) -> str:
    """A new id that sorts by time and is valid as the name of a file and of a Kubernetes object."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(4)}"
