"""Registries of several bundles, and services in which experiments run on them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bundles import write_small_bundle

from index.experiments import GivenExperiment
from index.gate_report import GateReport
from index.records import GateResult, PointerMove
from index.registry import Registry
from service.app import create_app
from service.settings import Settings
from service.state import STATE, Service

NOW = datetime(2026, 11, 30, tzinfo=UTC)
BY = PointerMove(at=NOW, by="test")


def registry_of(folder: Path, n: int) -> Registry:
    """Bundles that the gate let pass, of which the oldest is published."""
    registry = Registry(folder)
    for i in range(n):
        bundle_id = write_small_bundle(folder, after_seconds=i, seed=i).name
        report = GateReport(bundle_id=bundle_id, checks=())
        registry.save_gate_report(bundle_id, GateResult(at=NOW, report=report))
    registry.publish(registry.ids()[-1])
    return registry


@asynccontextmanager
async def running(registry: Registry, **settings: Any) -> AsyncIterator[Service]:
    """The service, without a socket."""
    fields = {"registry": registry.folder, "data": registry.folder.parent, "gpu": "off"} | settings
    app = create_app(Settings.model_validate(fields))
    async with app.router.lifespan_context(app) as state:
        yield state[STATE]


def two_arms(bundle: str | None, share: float = 50.0, **more: Any) -> GivenExperiment:
    """The control and a candidate with this bundle."""
    arms = [{"name": "control", "weight": 100 - share}, {"name": "candidate", "weight": share, "bundle": bundle}]
    return GivenExperiment.model_validate({"arms": arms, **more})


def metric(service: Service, name: str, **labels: str) -> float | None:
    """A metric's value, of the experiment `trial` where there are labels."""
    labels = {"experiment": "trial", **labels} if labels else {}
    return service.metrics.registry.get_sample_value(name, labels)
