"""The report on one phase of an experiment: what is known of its arms, and what follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from index.experiments import Experiment, Metric, Phase
from service.events.arm_totals import ArmTotals
from service.experiments.arms import why_ended
from service.experiments.errors import UnknownPhaseError
from service.experiments.sample_ratio import SampleRatio, sample_ratio
from service.experiments.statistics import METRICS, Analysis, analyse

NO_USERS = (
    "no user is counted yet: impressions are events of users, which callers send or the service logs "
    "(RECO_LOG_IMPRESSIONS)"
)


@dataclass(frozen=True)
class Report:
    """What the exposed users of each arm did in a phase, and what it shows."""

    phase: Phase
    until: datetime | None  # when the phase ended; None: it goes on
    totals: dict[str, ArmTotals]  # by arm, the control first
    analyses: dict[Metric, Analysis]
    sample_ratio: SampleRatio | None  # None: fewer than two arms go on
    decision: str  # in words
    warnings: list[str]


def labels(experiment: Experiment, number: int) -> list[str]:
    """Under which the arms of a phase are counted. UnknownPhaseError where there is no such phase."""
    return [experiment.label(arm.name, number) for arm in _phase(experiment, number).arms]


def report_on(experiment: Experiment, number: int, counted: Mapping[str, ArmTotals]) -> Report:
    """The report on a phase, from the totals by label. UnknownPhaseError where there is no such phase."""
    phase = _phase(experiment, number)
    totals = {arm.name: counted.get(experiment.label(arm.name, number), ArmTotals()) for arm in phase.arms}
    analyses = {metric: analyse(totals, metric, expected_lift=experiment.expected_lift) for metric in METRICS}
    ratio = ratio_of(phase, totals)
    warnings = [f"{arm.name} {why_ended(arm.ended)}; its users count until then" for arm in phase.arms if arm.ended]
    if ratio is not None and ratio.warning is not None:
        warnings.insert(0, ratio.warning)
    if not any(one.users for one in totals.values()):
        warnings.append(NO_USERS)
    trusted = ratio is None or ratio.warning is None
    following = experiment.phases.get(number + 1)
    return Report(
        phase,
        following.at if following is not None else experiment.ended.at if experiment.ended is not None else None,
        totals,
        analyses,
        ratio,
        analyses[experiment.metric].decision if trusted else "none, as the users do not fall into the arms by weight",
        warnings,
    )


def ratio_of(phase: Phase, totals: Mapping[str, ArmTotals]) -> SampleRatio | None:
    """Whether users fall into the arms that go on in the shares of their weights; None for fewer than two such arms."""
    weights = {arm.name: arm.weight for arm in phase.arms if arm.ended is None}
    if len(weights) < 2 or not any(weights.values()):
        return None
    return sample_ratio({name: totals[name].users for name in weights}, weights)


def _phase(experiment: Experiment, number: int) -> Phase:
    found = experiment.phases.get(number)
    if found is None:
        first = experiment.phase - len(experiment.earlier)
        raise UnknownPhaseError(
            f"phase: found {number}, expected {first} to {experiment.phase} of experiment {experiment.name}"
        )
    return found
