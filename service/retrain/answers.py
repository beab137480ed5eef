"""What is told of retrainings over HTTP."""

from pydantic import BaseModel, Field

from index.gate_report import GateReport
from service.http.responses import Reply
from service.retrain.job import Stage, State, Trigger


class ShownJob(BaseModel):
    """One retraining."""

    id: str
    state: State
    trigger: Trigger
    asked_by: str
    created_at: float = Field(description="unix seconds, as all times here")
    events_position: int = Field(description="how far into the event log the training reads")
    launcher: str
    arguments: tuple[str, ...]
    stages: tuple[Stage, ...]
    bundle: str | None
    gate: GateReport | None
    reason: str = Field(description="why it was refused, failed or cancelled")


class JobAnswer(Reply):
    """Answer of POST and DELETE."""

    job: ShownJob


class FullJobAnswer(JobAnswer):
    """Answer of GET /retrain/{job}."""

    log: list[str]


class JobsAnswer(Reply):
    """Answer of GET /retrain."""

    jobs: list[ShownJob]
