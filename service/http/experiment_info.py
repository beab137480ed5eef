"""Experiments and their arms as responses show them, with what the arms do in this process."""

from collections.abc import Sequence
from typing import Any

from index.experiments import Arm, Experiment
from service.experiments.arm_bundles import LOADING
from service.experiments.arms import ServedArm, why_ended
from service.http.experiment_responses import ExperimentInfo
from service.state import Service


def info(service: Service, experiment: Experiment) -> dict[str, Any]:
    """The fields of an ExperimentInfo."""
    kept = experiment.model_dump(include=set(ExperimentInfo.model_fields))
    shadow = experiment.shadow
    if shadow is not None:
        running = experiment.ended is None
        reason = service.experiments.bundles.problem(shadow.bundle) if running else "the experiment has ended"
        kept["shadow"] = {**shadow.model_dump(), "reason": reason or None}
    return {
        **kept,
        "state": "running" if experiment.ended is None else "ended",
        "arms": arm_infos(service, experiment, experiment.arms),
    }


def arm_infos(service: Service, experiment: Experiment, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """The fields of an ArmInfo for each of these arms, of the latest phase or of an earlier one."""
    is_here = service.arms.experiment is not None and service.arms.experiment.name == experiment.name
    served = service.arms.served if is_here else {}
    return [_arm_info(experiment, arm, served.get(arm.name)) for arm in arms]


def _arm_info(experiment: Experiment, arm: Arm, served: ServedArm | None) -> dict[str, Any]:
    latest = experiment.arm(arm.name)  # `arm` may be of an earlier phase
    move = arm.ended or experiment.ended or (None if latest is None else latest.ended)
    state, serves, reason = "loading", None, "this process has not taken it up yet"
    if move is not None:
        state, reason = "ended", why_ended(move)
    elif latest is None:
        state, reason = "ended", "the experiment has no such arm since a later phase"
    elif served is not None and served.slot is not None:
        state, serves, reason = "serving", served.slot.bundle_id, served.problem
    elif served is not None:
        state, reason = "loading" if served.problem == LOADING else "unavailable", served.problem
    return {
        **arm.model_dump(include={"name", "weight", "bundle"}),
        "state": state,
        "serves": serves,
        "reason": reason or None,
    }
