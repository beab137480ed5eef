"""/retrain: start, list, show and cancel retrainings, and receive the result of an external training system."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.http.parameters import Query
from service.http.responses import FullJobAnswer, JobAnswer, JobsAnswer, ShownJob
from service.http.route import Request, route
from service.retrain.job import Job, result_path
from service.retrain.retraining import Retraining, RetrainingOffError
from service.retrain.signature import Message, joined, verify_signature
from service.state import Service


class RetrainQuery(Query):
    """Where the bundle goes."""

    arm: str | None = Field(
        None,
        max_length=160,
        description="of the running experiment, as `arm` or `experiment/arm`, that gets the bundle; empty: everybody "
        "does; default: RECO_RETRAIN_ARM",
    )


class JobsQuery(Query):
    """How many jobs."""

    limit: int = Field(20, ge=1, le=100, description="maximum number of jobs in the response")


class JobQuery(Query):
    """How many lines of the job's log."""

    log_lines: int = Field(50, ge=0, le=1_000, description="number of lines from the end of the training's log")


class Result(BaseModel):
    """The result of an external training: the bundle that it put into the registry, or the reason why there is none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"required": ["bundle"], "properties": {"bundle": {"type": "string"}, "reason": {"type": "null"}}},
                {"required": ["reason"], "properties": {"reason": {"type": "string"}, "bundle": {"type": "null"}}},
            ]
        },
    )

    bundle: str | None = Field(None, min_length=1, max_length=200)
    reason: str | None = Field(None, min_length=1, max_length=2_000)

    @model_validator(mode="after")
    def _either_bundle_or_reason(self) -> "Result":
        if (self.bundle is None) == (self.reason is None):
            raise ValueError("expected either bundle or reason")
        return self


def routes() -> list[APIRoute]:
    """The routes of /retrain; all but the signed result are for admins."""
    return [
        route(
            "/retrain",
            retrain,
            method="POST",
            query=RetrainQuery,
            status=202,
            role="admin",
            response=JobAnswer,
            errors=(404, 409),
        ),
        route("/retrain", jobs, query=JobsQuery, role="admin", response=JobsAnswer, errors=(409,)),
        route("/retrain/{job}", job, query=JobQuery, role="admin", response=FullJobAnswer, errors=(404, 409)),
        route(
            "/retrain/{job}", cancel, method="DELETE", status=202, role="admin", response=JobAnswer, errors=(404, 409)
        ),
        route(
            "/retrain/{job}/result",
            result,
            method="POST",
            status=202,
            body=Result,
            response=JobAnswer,
            errors=(404, 409),
        ),
    ]


async def retrain(service: Service, request: Request[RetrainQuery]) -> dict[str, Any]:
    """Start a retraining; 409 names the job where one runs already, 404 `unknown_arm` where the arm is none."""
    submitted = await _hook(service).submit("call", request.principal.name, request.query.arm)
    return {"job": _render(submitted)}


async def jobs(service: Service, request: Request[JobsQuery]) -> dict[str, Any]:
    """Retrainings, newest first."""
    newest = await _hook(service).store.newest(request.query.limit)
    return {"jobs": [_render(job) for job in newest]}


async def job(service: Service, request: Request[JobQuery]) -> dict[str, Any]:
    """One retraining: its state, stages, gate report, bundle, and the end of its log."""
    hook = _hook(service)
    found = await hook.find(request.id)
    return {"job": _render(found), "log": await hook.log_tail(found, request.query.log_lines)}


async def cancel(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Cancel a retraining; its bundle is not published. A retraining that has ended does not change."""
    return {"job": _render(await _hook(service).cancel(request.id))}


async def result(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Receive the result of an external training, signed with the webhook secret (docs/retraining.md).

    A job takes one result and an ended job none (409), so that a message that is sent again changes nothing.
    """
    hook = _hook(service)
    if hook.secret is None:
        raise RetrainingOffError("no external system trains for this service (RECO_RETRAIN_LAUNCHER)")
    verify_signature(
        joined(request.headers), Message("POST", result_path(request.id), request.raw_body), hook.secret, hook.clock()
    )
    return {"job": _render(await hook.record_result(request.id, request.body.model_dump_json(exclude_none=True)))}


def _hook(service: Service) -> Retraining:
    if service.retraining is None:
        raise RetrainingOffError("this service has no data to train on (RECO_RETRAIN_DATA)")
    return service.retraining


def _render(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", include=set(ShownJob.model_fields))
