"""Models of the JSON responses about experiments, for the OpenAPI document and the client."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from service.experiments.shadow_summary import ShadowSummary
from service.http.responses import MoveInfo, Reply

Metric = Literal["click_through", "conversion", "revenue"]  # as in index/experiments.py, which needs numpy
ArmState = Literal["serving", "loading", "unavailable", "ended"]


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
    reason: str | None = Field(description="why it does not answer in the process that responds")


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


Ends = tuple[float, float] | None


class Lift(BaseModel):
    """An arm beside the control. All holds however often it is looked at, and for all arms together."""

    value: float | None = Field(description="relative: 0.05 is 5% more than the control; null: too little data")
    interval: Ends = Field(description="95%")
    p_value: float | None = Field(description="below 0.05 exactly where the interval excludes 0")
    verdict: Literal["better", "worse"] | None
    too_little: str | None = Field(description="what is missing")


class Measure(BaseModel):
    """A metric of an arm."""

    value: float | None = Field(description="null where nothing was counted")
    interval: Ends = Field(description="95%, however often it is looked at; null: too little data")
    too_little: str | None = Field(description="what is missing for an interval")
    lift: Lift | None = Field(description="null for the control")


class ArmTraffic(BaseModel):
    """All answers of the arm's bundle in the process that responds, since it serves, whichever arm they were for."""

    answers: int
    errors: int = Field(description="of them, those with 500 or 504")
    p99_ms: float = Field(description="at most, of the durations; 0 without answers")


class ArmReport(ArmInfo):
    """What the users of an arm did; a user counts from the first list that was shown in the arm."""

    users: int
    impressions: int = Field(description="items shown")
    clicks: int
    converters: int = Field(description="users with a conversion")
    conversions: int
    revenue: float
    click_through: Measure = Field(description="clicks by items shown")
    conversion: Measure = Field(description="converters by users")
    revenue_per_user: Measure
    traffic: ArmTraffic | None = Field(description="null where it does not serve here")


class SampleRatioInfo(BaseModel):
    """Whether users fall into the arms by weight."""

    p_value: float = Field(description="valid however often it is looked at; below 0.001 nothing else is to be trusted")
    passed: bool


class MemoryInfo(BaseModel):
    """The files of the different bundles that arms and the shadow answer from in this process."""

    bundles: int
    bytes: int = Field(description="of all of their files")
    shared_bytes: int = Field(description="of them, those that are in memory once for several open bundles")


class ReportAnswer(Reply):
    """Response of GET /experiments/{name}: one phase of an experiment."""

    experiment: ExperimentInfo = Field(description="in its latest phase")
    phase: int = Field(description="that is reported")
    since: datetime
    until: datetime | None = Field(description="null: it goes on")
    arms: list[ArmReport] = Field(description="the control first")
    shadow: list[ShadowSummary] = Field(
        description="each comparison of the shadow with a bundle that was shown, since these processes started"
    )
    memory: MemoryInfo
    sample_ratio: SampleRatioInfo | None = Field(description="null for fewer than two arms that go on")
    decision: str = Field(description="what the deciding metric shows of each arm")
    warnings: list[str]
