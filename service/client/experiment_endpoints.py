"""One function for each endpoint of experiments, as those of endpoints.py."""

from collections.abc import Mapping
from typing import Any

from service.client.request import SWAP_TIMEOUT_S, ClientRequest, path_of, without_none
from service.http.experiment_responses import EndedAnswer, ExperimentAnswer, ExperimentsAnswer, ReportAnswer


def experiments() -> ClientRequest[ExperimentsAnswer]:
    """The experiment that runs, those that ended, and what their arms do in the process that responds."""
    return ClientRequest("GET", "/experiments", ExperimentsAnswer, {})


def experiment(name: str, *, phase: int | None = None) -> ClientRequest[ReportAnswer]:
    """The report on an experiment, in its latest phase or in an earlier one."""
    return ClientRequest("GET", path_of("experiments", name), ReportAnswer, without_none({"phase": phase}))


def declare_experiment(name: str, experiment: Mapping[str, Any]) -> ClientRequest[ExperimentAnswer]:
    """Start an experiment or change the running one (admin); Conflict where a bundle is refused or another one runs."""
    path = path_of("experiments", name)
    return ClientRequest("PUT", path, ExperimentAnswer, {}, dict(experiment), timeout_s=SWAP_TIMEOUT_S)


def publish_to_arm(name: str, arm: str, bundle_id: str) -> ClientRequest[ExperimentAnswer]:
    """Give an arm another bundle (admin); Conflict where the gate or the process refuses it."""
    path, body = path_of("experiments", name, "/publish"), {"arm": arm, "bundle": bundle_id}
    return ClientRequest("POST", path, ExperimentAnswer, {}, body, idempotent=False, timeout_s=SWAP_TIMEOUT_S)


def rollback_arm(name: str, arm: str, *, leaving: str | None = None) -> ClientRequest[ExperimentAnswer]:
    """Give an arm its bundle before, or end it (admin); with `leaving`, only while it has that bundle."""
    path, body = path_of("experiments", name, "/rollback"), without_none({"arm": arm, "leaving": leaving})
    return ClientRequest(
        "POST", path, ExperimentAnswer, {}, body, idempotent=leaving is not None, timeout_s=SWAP_TIMEOUT_S
    )


def end_arm(name: str, arm: str) -> ClientRequest[ExperimentAnswer]:
    """End one arm (admin): its users get the control."""
    return ClientRequest("POST", path_of("experiments", name, "/end-arm"), ExperimentAnswer, {}, {"arm": arm})


def end_experiment(name: str, *, winner: str | None = None) -> ClientRequest[EndedAnswer]:
    """End an experiment (admin); the bundle of a winner is published to everybody first."""
    path, body = path_of("experiments", name, "/end"), without_none({"winner": winner})
    return ClientRequest("POST", path, EndedAnswer, {}, body, timeout_s=SWAP_TIMEOUT_S)
