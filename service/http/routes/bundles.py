"""GET /bundles, POST /bundles/{bundle_id}/publish, POST /bundles/rollback: list, publish and roll back bundles."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import Field

from index.bundle import BundleError
from index.records import PointerMove
from index.registry import Registry
from service.bundles.gate_process import report_json
from service.bundles.publishing import PublishOutcome
from service.http.parameters import Query
from service.http.responses import BundleInfo, BundlesAnswer, GateRefusal, PublishAnswer
from service.http.route import Request, route
from service.state import Service

SOURCE = "registry"


class PublishQuery(Query):
    """Parameters of a publish."""

    force: bool = Field(False, description="publish even if the gate refuses the bundle")


class RollbackQuery(Query):
    """Parameters of a rollback."""

    leaving: str | None = Field(
        None, max_length=120, description="roll back only while this bundle is published; makes a retry safe"
    )


def routes() -> list[APIRoute]:
    """GET /bundles, publish and rollback, all for admins."""
    return [
        route("/bundles", bundles, response=BundlesAnswer, role="admin"),
        route(
            "/bundles/{bundle_id}/publish",
            publish,
            method="POST",
            query=PublishQuery,
            response=PublishAnswer,
            role="admin",
            errors=(404, 409, 500),
            error_model=GateRefusal,
        ),
        route(
            "/bundles/rollback",
            rollback,
            method="POST",
            query=RollbackQuery,
            response=PublishAnswer,
            role="admin",
            errors=(404, 409),
        ),
    ]


async def bundles(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Every bundle of the registry, its state, and which of them serves."""
    swapper, loaded = service.bundles.swapper, request.loaded.bundle.bundle_id
    failure = swapper.failure
    return {
        "bundle": loaded,
        "source": SOURCE,
        "verified": swapper.opened.verified,
        "damage": swapper.damage,
        "trouble": None if failure is None else vars(failure),
        **await service.bundles.publishing.with_registry(_list_bundles, swapper.registry, loaded),
    }


async def publish(service: Service, request: Request[PublishQuery]) -> dict[str, Any]:
    """Publish a bundle: run the gate, swap this process to the bundle, then move the registry's pointer.

    409 where the gate refuses (with its report) or where this process cannot serve the bundle; nothing is changed
    then. Other replicas swap within seconds.
    """
    outcome = await service.bundles.publishing.publish(request.id, by=request.principal.name, force=request.query.force)
    return _publish_answer(service, outcome)


async def rollback(service: Service, request: Request[RollbackQuery]) -> dict[str, Any]:
    """Publish the bundle again that was published before this one."""
    outcome = await service.bundles.publishing.roll_back(by=request.principal.name, leaving=request.query.leaving)
    return _publish_answer(service, outcome)


def _publish_answer(service: Service, outcome: PublishOutcome) -> dict[str, Any]:
    return {
        "bundle": service.current.loaded.bundle.bundle_id,
        "source": SOURCE,
        "published": outcome.bundle,
        "swapped": outcome.swapped,
        "forced": outcome.forced,
        "gate": None if outcome.report is None else report_json(outcome.report),
    }


def _list_bundles(registry: Registry, loaded: str) -> dict[str, Any]:
    pointer = registry.pointer()
    published = None if pointer is None else pointer.bundle
    roles = dict.fromkeys(registry.rollback_targets()[-1:], "rollback") | {published: "published"} | {loaded: "serves"}
    return {
        "published": published,
        "history": [] if pointer is None else pointer.history,
        "bundles": [_info(registry, bundle_id, roles.get(bundle_id, "")) for bundle_id in registry.ids()],
    }


def _info(registry: Registry, bundle_id: str, role: str) -> dict[str, Any]:
    record = registry.record(bundle_id)
    info: dict[str, Any] = dict.fromkeys(BundleInfo.model_fields)
    info |= {
        "bundle_id": bundle_id,
        "role": role,
        "gate": None if record.gate is None else report_json(record.gate.report),
        "gated_at": None if record.gate is None else record.gate.at,
        "published": _dump(record.published),
        "withdrawn": _dump(record.withdrawn),
    }
    try:
        manifest = registry.manifest(bundle_id)
        info["bytes"] = registry.size(bundle_id)
    except (BundleError, OSError) as error:
        return info | {"unreadable": str(error)}
    copied = ("model", "created_at", "metrics", "n_users", "n_items", "n_interactions")
    return (
        info
        | {name: getattr(manifest, name) for name in copied}
        | {"index": manifest.index.model_dump(exclude={"tried"})}
    )


def _dump(move: PointerMove | None) -> dict[str, Any] | None:
    return None if move is None else move.model_dump()
