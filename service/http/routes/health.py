"""GET /healthz, /readyz and /metrics: for those who run the service."""

from typing import Any

from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from service.errors import DrainingError
from service.http.responses import Alive, Query, Ready
from service.http.route import Call, Raw, route
from service.state import Service


def routes() -> list[APIRoute]:
    """The routes of this file."""
    return [
        route("/healthz", healthz, answer=Alive),
        route("/readyz", readyz, answer=Ready),
        route("/metrics", metrics, answer=None),
    ]


async def healthz(service: Service, call: Call[Query]) -> dict[str, Any]:
    """The process is alive."""
    return {"status": "alive"}


async def readyz(service: Service, call: Call[Query]) -> dict[str, Any]:
    """The service can answer, with or without Redis, and from which bundle. A process about to end is not ready."""
    if service.draining:
        raise DrainingError("the process is about to end")
    loaded, manifest = call.loaded, call.loaded.bundle.manifest
    return {
        "bundle": manifest.bundle_id,
        "source": "bundle",
        "status": "ready",
        "model": manifest.model,
        "fold_in": manifest.fold_in,
        "redis": "off" if service.cache is None else service.cache.state,
        "index": {**manifest.index.model_dump(), "device": loaded.device},
        "spaces": loaded.similar_items.spaces,
        "files": _files(service),
    }


def _files(service: Service) -> str:
    """What is known of the files of the bundle that serves; damage is reported while the bundle serves on."""
    swapper = service.bundles.swapper
    if swapper.damage:
        return f"damaged: {swapper.damage[0]}"
    return "verified" if swapper.opened.verified else "not verified"


async def metrics(service: Service, call: Call[Query]) -> Raw:
    """What Prometheus scrapes."""
    return Raw(service.metrics.render(), CONTENT_TYPE_LATEST)
