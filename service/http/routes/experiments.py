"""/experiments: declare, change, show and end experiments, and give their arms other bundles."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from index.experiments import BundleId, Experiment, GivenExperiment, Name
from index.validation import explained
from service.errors import InvalidRequestError
from service.experiments.errors import ExperimentConflictError
from service.http.experiment_info import info
from service.http.experiment_responses import EndedAnswer, ExperimentAnswer, ExperimentsAnswer
from service.http.parameters import Query
from service.http.responses import GateRefusal
from service.http.route import Request, route
from service.state import Service

NAME: TypeAdapter[str] = TypeAdapter(Name)
CHANGES: Any = {"role": "admin", "errors": (404, 409, 500), "error_model": GateRefusal}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ArmBundle(_Body):
    """An arm, and the bundle that its users get."""

    arm: Name
    bundle: BundleId


class ArmRollback(_Body):
    """An arm that gets its bundle before."""

    arm: Name
    leaving: BundleId | None = Field(
        None, description="roll back only while the arm has this bundle; makes a retry safe"
    )


class OneArm(_Body):
    """An arm."""

    arm: Name


class End(_Body):
    """How an experiment ends."""

    winner: Name | None = Field(None, description="the arm whose bundle is published to everybody first")


def routes() -> list[APIRoute]:
    """The routes of /experiments; all that change something are for admins."""
    path, changed = "/experiments/{name}", ExperimentAnswer
    return [
        route("/experiments", experiments, response=ExperimentsAnswer),
        route(path, declare, method="PUT", body=GivenExperiment, response=changed, **CHANGES),
        route(f"{path}/publish", publish, method="POST", body=ArmBundle, response=changed, **CHANGES),
        route(f"{path}/rollback", rollback, method="POST", body=ArmRollback, response=changed, **CHANGES),
        route(f"{path}/end-arm", end_arm, method="POST", body=OneArm, response=changed, **CHANGES),
        route(f"{path}/end", end, method="POST", body=End, response=EndedAnswer, **CHANGES),
    ]


async def experiments(service: Service, request: Request[Query]) -> dict[str, Any]:
    """The experiment that runs, those that ended, and what their arms do in this process."""
    found = await service.experiments.experiments()
    return {
        "running": None if found.running is None else info(service, found.running),
        "ended": [info(service, one) for one in found.ended],
        "file": service.experiments_file.state,
    }


async def declare(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Start an experiment or change the running one; the gate checks its bundles, and this process loads them, first.

    409 where a bundle is refused, another experiment runs, or a file declares which one does; nothing is changed then.
    """
    try:
        name = NAME.validate_python(request.id)
    except ValidationError as error:
        raise InvalidRequestError(f"name: {explained(error)}") from None
    if service.experiments_file.state is not None:
        raise ExperimentConflictError(
            "RECO_EXPERIMENTS_FILE declares which experiment runs; change the file, or unset it and restart"
        )
    return _changed(service, await service.experiments.declare(name, request.body, by=request.principal.name))


async def publish(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Give an arm another bundle, in the same phase. Errors as those of PUT."""
    body, by = request.body, request.principal.name
    return _changed(service, await service.experiments.publish(request.id, body.arm, body.bundle, by=by))


async def rollback(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Give an arm its bundle before, or end it where it had none."""
    body, by = request.body, request.principal.name
    why = "rolled back, and had no bundle before"
    return _changed(
        service, await service.experiments.roll_back(request.id, body.arm, by=by, why=why, leaving=body.leaving)
    )


async def end_arm(service: Service, request: Request[Query]) -> dict[str, Any]:
    """End one arm: its users get the control from now on, and count no more."""
    by = request.principal.name
    return _changed(service, await service.experiments.end_arm(request.id, request.body.arm, by=by, why=""))


async def end(service: Service, request: Request[Query]) -> dict[str, Any]:
    """End the experiment; a winner's bundle is published to everybody first, past the gate as by any publish.

    One that has ended stays as it is.
    """
    by = request.principal.name
    experiment, outcome = await service.experiments.end(request.id, by=by, winner=request.body.winner)
    return {**_changed(service, experiment), "published": None if outcome is None else outcome.bundle}


def _changed(service: Service, experiment: Experiment) -> dict[str, Any]:
    return {"experiment": info(service, experiment)}
