"""Experiments: which arms of the traffic are answered from which bundle. The registry holds them beside its pointer.

The first arm is the control, which always answers from the published bundle. At most one experiment runs at a time;
those that ended are kept for their reports.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from index.errors import InputError
from index.frozen_model import FrozenModel
from index.manifest import BUNDLE_ID
from index.reading import reason
from index.records import PointerMove

DOCUMENT = "experiments.json"
MOST_ENDED = 100  # experiments that are kept for their reports; the oldest is dropped
MOST_ARMS = 10
MOST_PHASES = 100  # earlier ones that are kept for their reports
ALL = 100.0  # percent

Metric = Literal["click_through", "conversion", "revenue"]
NAME = "[a-z0-9][a-z0-9._-]{0,63}"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
BundleId = Annotated[str, Field(pattern=f"^{BUNDLE_ID.pattern}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class GivenArm(FrozenModel):
    """An arm as it is declared."""

    name: Name
    weight: Annotated[float, Field(ge=0, le=ALL, description="percent of the users")]
    bundle: Annotated[BundleId | None, Field(description="that answers; null: the published one")] = None


class Shadow(FrozenModel):
    """A bundle that answers too and is not shown."""

    bundle: BundleId
    share: Annotated[Share, Field(description="of the control arm's requests that it answers too")] = 0.05


class Guardrails(FrozenModel):
    """What ends an arm; null switches one off."""

    max_error_share: Annotated[Share | None, Field(description="of the arm's requests that may fail")] = 0.01
    max_p99_ratio: Annotated[float | None, Field(ge=1, description="its p99 divided by that of the control")] = 2.0
    min_coverage: Annotated[
        Share | None,
        Field(description="distinct items that it shows, divided by the control's in as many lists"),
    ] = 0.5
    min_requests: Annotated[int, Field(ge=20, le=10**9, description="of an arm before it is judged")] = 200


class GivenExperiment(FrozenModel):
    """An experiment as a caller or a file declares it."""

    arms: Annotated[
        tuple[GivenArm, ...], Field(min_length=1, max_length=MOST_ARMS, description="the first is the control")
    ]
    salt: Annotated[str, Field(max_length=128, description="of the assignment; empty: the experiment's name")] = ""
    metric: Annotated[Metric, Field(description="that decides")] = "click_through"
    expected_lift: Annotated[
        float, Field(ge=0.005, le=10, description="relative; the report is most sensitive to lifts of this size")
    ] = 0.1
    shadow: Shadow | None = None
    guardrails: Guardrails = Guardrails()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        counts = Counter(arm.name for arm in self.arms)
        if twice := [name for name, n in counts.items() if n > 1]:
            raise ValueError(f"arms: {', '.join(twice)} appears twice, expected different names")
        total = sum(arm.weight for arm in self.arms)
        if abs(total - ALL) > 1e-6:
            raise ValueError(f"arms: the weights sum to {total:g}, expected {ALL:g}")
        if self.arms[0].bundle is not None:
            raise ValueError(
                f"arms: the first one is the control, which serves the published bundle; "
                f"found bundle {self.arms[0].bundle!r}, expected none"
            )
        return self


class Arm(GivenArm):
    """An arm of an experiment, and what became of it."""

    history: tuple[BundleId, ...] = ()  # bundles that it had before, oldest first
    ended: PointerMove | None = None  # its users are served by the control


class Phase(FrozenModel):
    """A phase: when it began, and the arms as they were at its end, or are now."""

    at: AwareDatetime
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]


class Experiment(FrozenModel):
    """One experiment. A phase begins whenever the arms or weights change: users of two phases are not compared."""

    name: Name
    salt: str
    metric: Metric
    expected_lift: float
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    shadow: Shadow | None = None
    guardrails: Guardrails = Guardrails()
    started: PointerMove
    phase: int = 1
    phase_at: AwareDatetime
    earlier: tuple[Phase, ...] = ()  # phases, oldest first
    ended: PointerMove | None = None
    winner: Name | None = None  # the arm whose bundle was published at the end

    @property
    def control(self) -> Arm:
        """The arm that serves the published bundle."""
        return self.arms[0]

    def arm(self, name: str) -> Arm | None:
        """The arm of that name."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def label(self, arm: str, phase: int | None = None) -> str:
        """What events and counts of an arm carry in a phase; None: the latest."""
        return f"{self.name}/{phase or self.phase}/{arm}"

    @property
    def phases(self) -> dict[int, Phase]:
        """All phases that are kept by number, the latest last."""
        kept = (*self.earlier, Phase(at=self.phase_at, arms=self.arms))
        return dict(enumerate(kept, start=self.phase - len(self.earlier)))

    def in_next_phase(self, before: "Experiment", at: datetime) -> "Experiment":
        """This state of the experiment as the phase that follows the one of `before`."""
        earlier = (*before.earlier, Phase(at=before.phase_at, arms=before.arms))[-MOST_PHASES:]
        return self.model_copy(update={"phase": before.phase + 1, "phase_at": at, "earlier": earlier})

    @property
    def bundles(self) -> set[str]:
        """The bundles that it names: those of arms that have not ended, and the shadow's."""
        named = {arm.bundle for arm in self.arms if arm.ended is None and arm.bundle is not None}
        return named if self.shadow is None else named | {self.shadow.bundle}

    def with_arm(self, arm: Arm) -> "Experiment":
        """The experiment with another state of one arm."""
        return self.model_copy(update={"arms": tuple(arm if one.name == arm.name else one for one in self.arms)})


class Experiments(FrozenModel):
    """The document of a registry."""

    running: Experiment | None = None
    ended: tuple[Experiment, ...] = ()  # oldest first
    applied: tuple[str, ...] = ()  # digests of the contents of experiments files that were taken up, oldest first

    def find(self, name: str) -> Experiment | None:
        """The experiment of that name: the running one, else the one that ended last."""
        if self.running is not None and self.running.name == name:
            return self.running
        return next((one for one in reversed(self.ended) if one.name == name), None)

    @property
    def bundles(self) -> set[str]:
        """The bundles that the running experiment needs."""
        return set() if self.running is None else self.running.bundles

    @property
    def rollback_targets(self) -> set[str]:
        """The bundles that arms of the running experiment would go back to."""
        arms = () if self.running is None else self.running.arms
        return {bundle for arm in arms if arm.ended is None for bundle in arm.history[-1:]}

    def with_applied(self, digest: str) -> "Experiments":
        """The document after the contents of a file with this digest were taken up."""
        return self.model_copy(
            update={"applied": (*(one for one in self.applied if one != digest), digest)[-MOST_ENDED:]}
        )

    def with_ended(self, experiment: Experiment) -> "Experiments":
        """The document after the running experiment, in its last state, has ended."""
        return self.model_copy(update={"running": None, "ended": (*self.ended, experiment)[-MOST_ENDED:]})


Change = Callable[[Experiments], Experiments]
NO_EXPERIMENTS = Experiments()


def parse_experiments(data: bytes, place: str) -> Experiments:
    """The document; InputError where it is damaged."""
    try:
        return Experiments.model_validate_json(data)
    except ValueError as error:
        raise InputError(f"{place}/{DOCUMENT} is damaged ({reason(error)}); expected what the service wrote") from error


def same_split(before: Sequence[GivenArm], after: Sequence[GivenArm]) -> bool:
    """Whether users stay in their arms: names and weights are the same, whatever the bundles."""
    return [(arm.name, arm.weight) for arm in before] == [(arm.name, arm.weight) for arm in after]
