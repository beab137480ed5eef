"""Runs the gate on a bundle of a registry, and publishes what passes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from index.engine import use_threads
from index.errors import BundleError, InputError
from index.gate import check_bundle
from index.gate_report import DEFAULT_LIMITS, GateLimits, GateReport
from index.records import GateResult, PointerMove
from index.registry import Registry


def gate_bundle(
    registry: Registry, bundle_id: str, limits: GateLimits = DEFAULT_LIMITS, *, replay: Sequence[str] = ()
) -> GateReport:
    """The gate's report on the bundle, beside the one that the registry serves; `replay` as for check_bundle."""
    serving, path = registry.current_id(), registry.fetch(bundle_id)
    current = None if serving is None else _fetch_current(registry, serving)
    use_threads(1)  # as the service searches
    return check_bundle(path, current, limits, replay=replay)


def publish_gated(registry: Registry, bundle_id: str, *, by: str) -> None:
    """Publish the bundle if the gate lets it pass; InputError with what failed where it does not."""
    report, now = gate_bundle(registry, bundle_id), datetime.now(UTC)
    registry.save_gate_report(bundle_id, GateResult(at=now, report=report))
    if not report.passed:
        failed = "; ".join(f"{one.name}: {one.found}, required {one.required}" for one in report.failures)
        raise InputError(f"the gate refuses {bundle_id}, which is written but not published: {failed}")
    registry.publish(bundle_id, PointerMove(at=now, by=by))


def _fetch_current(registry: Registry, bundle_id: str) -> Path:
    try:
        return registry.fetch(bundle_id)
    except BundleError:  # a damaged bundle in a bucket does not block a good one: the gate says that it is unreadable
        return registry.folder / bundle_id
