"""One retraining, as it is kept and shown."""

import secrets
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from index.gate_report import GateReport

State = Literal["queued", "running", "gating", "published", "refused", "failed", "cancelled"]
Trigger = Literal["call", "events", "schedule"]
StageName = Literal["exporting", "training", "gating", "publishing"]
Handle = dict[str, str | int]
"""What a launcher needs to find its work again after a restart."""

ENDED: frozenset[State] = frozenset({"published", "refused", "failed", "cancelled"})
LONGEST_REASON = 2_000


class Stage(BaseModel):
    """A step of a job, and when it was taken (unix seconds)."""

    model_config = ConfigDict(frozen=True)

    name: StageName
    started_at: float
    ended_at: float | None = None


class Job(BaseModel):
    """A record that is replaced, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    trigger: Trigger
    asked_by: str  # the name of the caller's key, or of the trigger
    created_at: float
    events_position: int  # of the newest event when the job was made
    launcher: str
    arguments: tuple[str, ...] = ()  # of the trainer, beside those that every retraining has
    state: State = "queued"
    stages: tuple[Stage, ...] = ()
    handle: Handle | None = None
    bundles_before: tuple[str, ...] = ()
    bundle: str | None = None
    gate: GateReport | None = None
    reason: str = ""  # why it was refused, failed or cancelled

    @property
    def has_ended(self) -> bool:
        """Nothing more will happen to it."""
        return self.state in ENDED

    def at(self, state: State, stage: StageName, now: float) -> "Job":
        """The job as it enters a stage; entering one again changes nothing but the state."""
        if self.stages and self.stages[-1].name == stage:
            return self.model_copy(update={"state": state})
        stages = (*self._closed(now), Stage(name=stage, started_at=now))
        return self.model_copy(update={"state": state, "stages": stages})

    def ended(self, state: State, now: float, reason: str = "") -> "Job":
        """The job as it ends."""
        return self.model_copy(
            update={"state": state, "stages": self._closed(now), "reason": reason[:LONGEST_REASON], "handle": None}
        )

    def _closed(self, now: float) -> tuple[Stage, ...]:
        if not self.stages or self.stages[-1].ended_at is not None:
            return self.stages
        return (*self.stages[:-1], self.stages[-1].model_copy(update={"ended_at": now}))


def new_job_id(now: float) -> str:
    """Sorts by time; a valid name of a file and of a Kubernetes object."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(4)}"
