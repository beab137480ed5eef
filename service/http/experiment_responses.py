"""Models of the JSON responses about experiments, for the OpenAPI document and the client."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from service.http.responses import MoveInfo, Reply

ArmState = Literal["serving", "loading", "unavailable", "ended"]
Metric = Literal["click_through", "conversion", "revenue"]


class ArmInfo(BaseModel):
    """An arm: as it was declared, and what it does in the process that responds."""

    name: str
    weight: float = Field(description="percent of the users")
    bundle: str | None = Field(description="that it names; null: the published one")
    state: ArmState = Field(description="in this process; of an experiment that has ended, as it was at its end")
    serves: str | None = Field(description="the bundle that answers its users here; null: the control does")
    reason: str | None = Field(description="why it, or its newest bundle, does not serve")


class ShadowInfo(BaseModel):
    """The bundle that answers too and is not shown."""

    bundle: str
    share: float


class GuardrailInfo(BaseModel):
    """What ends an arm; null switches one off."""

    max_error_share: float | None
    max_p99_ratio: float | None
    min_coverage: float | None
    min_requests: int


class ExperimentInfo(BaseModel):
    """One experiment; the first arm is the control."""

    name: str
    state: Literal["running", "ended"]
    salt: str
    metric: Metric = Field(description="that decides")
    expected_lift: float
    arms: list[ArmInfo]
    shadow: ShadowInfo | None
    guardrails: GuardrailInfo
    started: MoveInfo
    phase: int = Field(description="counts up with other arms or weights, and when an arm comes back")
    phase_at: datetime = Field(description="when it began")
    ended: MoveInfo | None
    winner: str | None = Field(description="the arm whose bundle was published at the end")


class ExperimentAnswer(Reply):
    """Response to a change of an experiment: in effect here now, and on every replica soon after."""

    experiment: ExperimentInfo


class EndedAnswer(ExperimentAnswer):
    """Response to the end of an experiment."""

    published: str | None = Field(description="the winner's bundle, which everybody now gets; null: as before")


class ExperimentsAnswer(Reply):
    """Response of GET /experiments."""

    running: ExperimentInfo | None
    ended: list[ExperimentInfo] = Field(description="oldest first")
    file: str | None = Field(description="`in effect`, or why RECO_EXPERIMENTS_FILE is not; null: there is none")
