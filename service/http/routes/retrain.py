"""/retrain: ask for a retraining, see how it goes, end it, and hear from an outside system that did it."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.http.responses import FullJobAnswer, JobAnswer, JobsAnswer, Query, ShownJob
from service.http.route import Call, route
from service.retrain.job import Job
from service.retrain.retraining import Retraining, RetrainingOffError
from service.retrain.signature import verify_signature
from service.state import Service


class JobsQuery(Query):
    """Which jobs."""

    limit: int = Field(20, ge=1, le=100, description="jobs in the answer, at most")


class JobQuery(Query):
    """How much of the log."""

    log_lines: int = Field(50, ge=0, le=1_000, description="last lines of what the training said")


class Result(BaseModel):
    """What an outside system found: the bundle that it put into the registry, or why there is none."""

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
    def _one_of_them(self) -> "Result":
        if (self.bundle is None) == (self.reason is None):
            raise ValueError("expected either bundle or reason")
        return self


def routes() -> list[APIRoute]:
    """The routes of this file."""
    return [
        route("/retrain", retrain, method="POST", status=202, role="admin", answer=JobAnswer, refusals=(409,)),
        route("/retrain", jobs, query=JobsQuery, role="admin", answer=JobsAnswer, refusals=(409,)),
        route("/retrain/{job}", job, query=JobQuery, role="admin", answer=FullJobAnswer, refusals=(404, 409)),
        route(
            "/retrain/{job}", cancel, method="DELETE", status=202, role="admin", answer=JobAnswer, refusals=(404, 409)
        ),
        route(
            "/retrain/{job}/result",
            result,
            method="POST",
            status=202,
            body=Result,
            answer=JobAnswer,
            refusals=(404, 409),
        ),
    ]


async def retrain(service: Service, call: Call[Query]) -> dict[str, Any]:
    """Begin a retraining; 409 names the job where one runs already."""
    made = await _hook(service).submit("call", call.principal.name)
    return {"job": _shown(made)}


async def jobs(service: Service, call: Call[JobsQuery]) -> dict[str, Any]:
    """Retrainings, newest first."""
    found = await _hook(service).store.newest(call.query.limit)
    return {"jobs": [_shown(job) for job in found]}


async def job(service: Service, call: Call[JobQuery]) -> dict[str, Any]:
    """One retraining: its state, stages, gate report, bundle, and the end of its log."""
    hook = _hook(service)
    found = await hook.find(call.id)
    return {"job": _shown(found), "log": await hook.log_tail(found, call.query.log_lines)}


async def cancel(service: Service, call: Call[Query]) -> dict[str, Any]:
    """End a retraining; what it made is not published. One that has ended stays as it is."""
    return {"job": _shown(await _hook(service).cancel(call.id))}


async def result(service: Service, call: Call[Query]) -> dict[str, Any]:
    """What an outside system found, signed as we sign what we send it (docs/retraining.md)."""
    hook = _hook(service)
    if hook.secret is None:
        raise RetrainingOffError("no outside system trains for this service (RECO_RETRAIN_LAUNCHER)")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers}
    verify_signature(headers, call.raw, hook.secret, hook.clock())
    return {"job": _shown(await hook.record_result(call.id, call.raw.decode()))}


def _hook(service: Service) -> Retraining:
    if service.retraining is None:
        raise RetrainingOffError("this service was given no data to train on (RECO_RETRAIN_DATA)")
    return service.retraining


def _shown(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", include=set(ShownJob.model_fields))
