"""GET /bundles, POST /bundles/{bundle_id}/publish, POST /bundles/rollback: versions, hot swap, rollback."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import Field

from index.bundle import BundleError
from index.records import Move
from index.registry import Registry
from service.bundles.gate_process import report_json
from service.bundles.publishing import PublishOutcome
from service.http.responses import BundleInfo, BundlesAnswer, GateRefusal, PublishAnswer, Query
from service.http.route import Call, route
from service.state import Service

SOURCE = "registry"


class PublishQuery(Query):
    """Parameters of a publish."""

    force: bool = Field(False, description="publish though the gate refuses the bundle")


class RollbackQuery(Query):
    """Parameters of a rollback."""

    leaving: str | None = Field(
        None, max_length=120, description="roll back only while this bundle is published: asked twice, it is done once"
    )


def routes() -> list[APIRoute]:
    """The routes of this file."""
    return [
        route("/bundles", bundles, answer=BundlesAnswer),
        route(
            "/bundles/{bundle_id:path}/publish",
            publish,
            method="POST",
            query=PublishQuery,
            answer=PublishAnswer,
            role="admin",
            refusals=(404, 409, 500),
            refusal=GateRefusal,
        ),
        route(
            "/bundles/rollback",
            rollback,
            method="POST",
            query=RollbackQuery,
            answer=PublishAnswer,
            role="admin",
            refusals=(404, 409),
        ),
    ]


async def bundles(service: Service, call: Call[Query]) -> dict[str, Any]:
    """Every bundle of the registry, which of them serves, and what is known of each."""
    swapper, loaded = service.bundles.swapper, call.loaded.bundle.bundle_id
    failure = swapper.failure
    return {
        "bundle": loaded,
        "source": SOURCE,
        "verified": swapper.opened.verified,
        "damage": swapper.damage,
        "trouble": None if failure is None else vars(failure),
        **await service.bundles.publishing.with_registry(_list_bundles, swapper.registry, loaded),
    }


async def publish(service: Service, call: Call[PublishQuery]) -> dict[str, Any]:
    """Let a bundle serve: the gate is asked, this process takes the bundle up, then the pointer moves.

    409 with the gate's report where it refuses, or with the reason why this process cannot serve the bundle; then
    nothing is changed. Other replicas follow within seconds.
    """
    done = await service.bundles.publishing.publish(call.id, by=call.principal.name, force=call.query.force)
    return _publish_answer(service, done)


async def rollback(service: Service, call: Call[RollbackQuery]) -> dict[str, Any]:
    """Let the bundle serve again that served before."""
    done = await service.bundles.publishing.roll_back(by=call.principal.name, leaving=call.query.leaving)
    return _publish_answer(service, done)


def _publish_answer(service: Service, done: PublishOutcome) -> dict[str, Any]:
    return {
        "bundle": service.current.loaded.bundle.bundle_id,
        "source": SOURCE,
        "published": done.bundle,
        "swapped": done.swapped,
        "forced": done.forced,
        "gate": None if done.report is None else report_json(done.report),
    }


def _list_bundles(registry: Registry, loaded: str) -> dict[str, Any]:
    pointer = registry.pointer()
    published = None if pointer is None else pointer.bundle
    roles = dict.fromkeys(registry.earlier()[-1:], "rollback") | {published: "published"} | {loaded: "serves"}
    return {
        "published": published,
        "history": [] if pointer is None else pointer.history,
        "bundles": [_info(registry, one, roles.get(one, "")) for one in registry.ids()],
    }


def _info(registry: Registry, bundle_id: str, role: str) -> dict[str, Any]:
    record = registry.record(bundle_id)
    known: dict[str, Any] = dict.fromkeys(BundleInfo.model_fields)
    known |= {
        "bundle_id": bundle_id,
        "role": role,
        "gate": None if record.gate is None else report_json(record.gate.report),
        "gated_at": None if record.gate is None else record.gate.at,
        "published": _plain(record.published),
        "withdrawn": _plain(record.withdrawn),
    }
    try:
        manifest = registry.manifest(bundle_id)
        known["bytes"] = registry.size(bundle_id)
    except (BundleError, OSError) as error:
        return known | {"unreadable": str(error)}
    sizes = ("model", "created_at", "metrics", "n_users", "n_items", "n_interactions")
    return known | {name: getattr(manifest, name) for name in sizes} | {"index": manifest.index.model_dump()}


def _plain(move: Move | None) -> dict[str, Any] | None:
    return None if move is None else move.model_dump()
