"""GET /healthz, /readyz and /metrics, for orchestrators and monitoring."""

from typing import Any

from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from service.errors import DrainingError, StartingError
from service.http.parameters import Query
from service.http.responses import Alive, Ready
from service.http.route import Request, TextResponse, route
from service.ranking.turns import Turn
from service.state import Service


def routes() -> list[APIRoute]:
    """GET /healthz, /readyz and /metrics."""
    return [
        route("/healthz", healthz, response=Alive),
        route("/readyz", readyz, response=Ready),
        route("/metrics", metrics, response=None),
    ]


async def healthz(service: Service, request: Request[Query]) -> dict[str, Any]:
    """The process is alive."""
    return {"status": "alive"}


async def readyz(service: Service, request: Request[Query]) -> dict[str, Any]:
    """The service can answer, with or without Redis, and from which bundle. A process that shuts down is not ready."""
    if service.draining:
        raise DrainingError("the process is shutting down")
    missing = {} if service.siblings is None else service.siblings.missing()
    if missing:
        raise StartingError(f"workers that do not serve: {', '.join(map(str, missing))}")
    loaded, manifest = request.loaded, request.loaded.bundle.manifest
    return {
        "bundle": manifest.bundle_id,
        "source": "bundle",
        "status": "ready",
        "model": manifest.model,
        "fold_in": manifest.fold_in,
        "recency": None if manifest.recency is None else manifest.recency.model_dump(),
        "redis": "off" if service.cache is None else service.cache.state,
        "index": {**manifest.index.model_dump(exclude={"tried"}), "device": loaded.device},
        "spaces": loaded.similar_items.spaces,
        "files": _files(service),
        "degraded": [f"{task}: {why}" for task, why in sorted(service.metrics.failing_tasks.items())],
        "events": _accepted(service.feedback.log.problem),
        "items": _accepted(service.items.store.problem),
        "control_file": service.live.hidden.problem or "usable",
        "hidden_items": service.live.hidden.state,
        "forgotten_people": service.live.forgotten.state,
        "experiments": service.experiments.bundles.registry_error or service.experiments_file.problem or "current",
        "arms_not_serving": {name: why for name, one in service.arms.served.items() if (why := one.not_serving)},
    }


def _accepted(problem: str | None) -> str:
    """Whether a store takes events or items; without it everything else is answered."""
    return "accepted" if problem is None else f"refused: {problem}"


def _files(service: Service) -> str:
    """The state of the bundle's files; a damaged bundle goes on serving."""
    swapper = service.bundles.swapper
    if swapper.damage:
        return f"damaged: {swapper.damage[0]}"
    return "verified" if swapper.opened.verified else "not verified"


async def metrics(service: Service, request: Request[Query]) -> TextResponse:
    """All metrics, in the format of Prometheus; of several workers their sums."""
    replies = {} if service.scrape is None else await service.scrape.ask()
    turn = Turn(service.lane, long=True)  # rendering takes milliseconds, also where many ask at once
    await turn.begin()
    try:
        text = service.metrics.render() if service.scrape is None else service.scrape.render(replies)
        return TextResponse(text, CONTENT_TYPE_LATEST)
    finally:
        turn.end()
