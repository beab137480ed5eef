"""GET /experiments/{name}: the report on an experiment."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import Field

from index.experiments import Metric
from service.bundles.traffic import Tally, Traffic
from service.experiments.report import Report, labels, report_on
from service.experiments.statistics import Comparison
from service.http.experiment_info import arm_infos, info
from service.http.experiment_responses import ReportAnswer
from service.http.parameters import Query
from service.http.route import Request, route
from service.state import Service

FIELDS: dict[str, Metric] = {  # of the response, by metric
    "click_through": "click_through",
    "conversion": "conversion",
    "revenue_per_user": "revenue",
}


class ReportQuery(Query):
    """Which phase."""

    phase: int | None = Field(None, ge=1, le=10**9, description="the number of a phase; none: the latest")


def routes() -> list[APIRoute]:
    """GET /experiments/{name}."""
    return [route("/experiments/{name}", report, query=ReportQuery, response=ReportAnswer)]


async def report(service: Service, request: Request[ReportQuery]) -> dict[str, Any]:
    """What the users of each arm did in a phase, each arm beside the control, and what follows.

    It may be looked at every day: intervals, p-values and the check of the arms' shares hold at every look.
    """
    experiment = await service.experiments.find(request.id)
    number = request.query.phase or experiment.phase
    counted = await service.feedback.log.arm_totals(labels(experiment, number))
    found = report_on(experiment, number, counted)
    arms = arm_infos(service, experiment, found.phase.arms)
    unavailable = [
        f"{arm['name']} gets no user in this process: {arm['reason']}"
        for arm in arms
        if not arm["serves"] and arm["state"] != "ended"
    ]
    published = service.current.bundle_id
    equal = [
        f"{arm['name']} serves the published bundle, as the control does: they differ by chance alone"
        for arm in arms
        if arm["bundle"] == arm["serves"] == published
    ]
    ratio = found.sample_ratio
    return {
        "experiment": info(service, experiment),
        "phase": number,
        "since": found.phase.at,
        "until": found.until,
        "arms": [arm | _figures(found, arm["name"]) | {"traffic": _traffic(service, arm)} for arm in arms],
        "shadow": [one.model_dump() for one in await service.shadow.summaries(experiment.name)],
        "memory": _memory(service, {arm["name"] for arm in arms if arm["serves"]}),
        "sample_ratio": None if ratio is None else {"p_value": ratio.p_value, "passed": ratio.warning is None},
        "decision": found.decision,
        "warnings": found.warnings + (unavailable + equal if experiment.ended is None else []),
    }


def _figures(found: Report, arm: str) -> dict[str, Any]:
    totals = found.totals[arm]
    counts = {name: round(getattr(totals, name)) for name in ("users", "clicks", "converters", "conversions")}
    measures = {field: _measure(found, metric, arm) for field, metric in FIELDS.items()}
    return {**counts, "impressions": round(totals.shown), "revenue": totals.revenue, **measures}


def _measure(found: Report, metric: Metric, arm: str) -> dict[str, Any]:
    analysis = found.analyses[metric]
    own = analysis.arms[arm]
    lifts = [_lift(one) for one in analysis.comparisons if one.arm == arm]
    return {
        "value": own.value,
        "interval": _ends(own.interval),
        "too_little": own.too_little,
        "lift": lifts[0] if lifts else None,
    }


def _lift(one: Comparison) -> dict[str, Any]:
    return {
        "value": one.lift,
        "interval": _ends(one.interval),
        "p_value": one.p_value,
        "verdict": one.verdict,
        "too_little": one.too_little,
    }


def _ends(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [*interval]


def _traffic(service: Service, arm: dict[str, Any]) -> dict[str, Any] | None:
    served = service.arms.served.get(arm["name"])
    if served is None or served.slot is None or not arm["serves"]:
        return None
    total = _total(served.slot.loaded.traffic)
    return {"answers": total.answers, "errors": total.faults, "p99_ms": 1_000 * total.p99_s}


def _memory(service: Service, serving: set[str]) -> dict[str, int]:
    slots = [one.slot for name, one in service.arms.served.items() if name in serving and one.slot is not None]
    if serving and service.arms.shadow is not None:
        slots.append(service.arms.shadow)
    bundles = {slot.bundle_id: slot.loaded.bundle for slot in slots}.values()
    return {
        "bundles": len(bundles),
        "bytes": sum(bundle.file_bytes for bundle in bundles),
        "shared_bytes": sum(bundle.shared_bytes for bundle in bundles),
    }


def _total(traffic: Traffic) -> Tally:
    """The answers to all callers' requests of every kind."""
    total = Tally()
    for _, _, tally in traffic.tallies():
        total.answers += tally.answers
        total.faults += tally.faults
        for bucket, n in tally.buckets.items():
            total.buckets[bucket] = total.buckets.get(bucket, 0) + n
    return total
