"""The gate: what a bundle must pass before it is published, and a report that a person can read."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from index.bundle import Bundle, BundleError, open_bundle
from index.errors import InputError
from index.item_index import ItemIndex, measured_recall
from index.laws import TOLERANCE, fold_in_error, part_sum_error
from index.manifest import Manifest, read_manifest


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateLimits(_Record):
    """How bad is too bad. metric_margin is relative: 0.05 lets a metric fall by five per cent of the current value."""

    law_tolerance: float = TOLERANCE
    index_recall_at: int = 20
    index_recall_floor: float = 0.95
    metrics: tuple[str, ...] = ("recall@20", "ndcg@20")
    metric_margin: float = 0.05


DEFAULT_LIMITS = GateLimits()


class GateCheck(_Record):
    """One named question to the bundle and its answer."""

    name: str
    passed: bool
    found: str
    required: str


class GateReport(_Record):
    """Every check in order; str() is a table for people."""

    bundle_id: str
    checks: tuple[GateCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether the bundle may be published."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[GateCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED in {len(self.failures)} of {len(self.checks)} checks"
        width = max(len(check.name) for check in self.checks)
        lines = (
            f"  {'ok  ' if check.passed else 'FAIL'}  {check.name:{width}}  {check.found}  (required: {check.required})"
            for check in self.checks
        )
        return "\n".join([f"gate for {self.bundle_id}: {verdict}", *lines])


def pass_gate(path: Path, current: Path | None, limits: GateLimits = DEFAULT_LIMITS) -> GateReport:
    """Ask the bundle at `path` everything, against the bundle that serves now (None: nothing serves yet).

    Never raises for a bad bundle: what is wrong with it is a failed check. Reads the whole bundle.
    """
    try:
        bundle = open_bundle(path)
    except BundleError as error:
        sums = GateCheck(name="files and sums", passed=False, found=str(error), required="as the manifest says")
        return GateReport(bundle_id=path.name, checks=(sums,))
    checks = (_whole(bundle), *_laws(bundle, limits), _index_recall(bundle, limits), *_metrics(bundle, current, limits))
    return GateReport(bundle_id=bundle.bundle_id, checks=checks)


def _whole(bundle: Bundle) -> GateCheck:
    n_files, named = len(bundle.manifest.files), bundle.path.name == bundle.bundle_id
    return GateCheck(
        name="files and sums",
        passed=named,
        found=f"{n_files} files as the manifest says" if named else f"a folder named {bundle.path.name}",
        required="whole files in a folder of the bundle's name",
    )


def _laws(bundle: Bundle, limits: GateLimits) -> Iterator[GateCheck]:
    errors = {
        "parts sum to items": part_sum_error(bundle.item_embeddings, bundle.item_parts),
        "fold-in gives users": fold_in_error(
            bundle.user_embeddings, bundle.user_own, bundle.fold_in, bundle.seen_offsets, bundle.seen_items
        ),
    }
    for name, error in errors.items():
        yield GateCheck(
            name=name,
            passed=error <= limits.law_tolerance,
            found=f"relative error {error:.2g}",
            required=f"at most {limits.law_tolerance:g}",
        )


def _index_recall(bundle: Bundle, limits: GateLimits) -> GateCheck:
    name, required = f"index recall@{limits.index_recall_at}", f"at least {limits.index_recall_floor:g}"
    try:
        recall = _measured(bundle.index(), bundle, limits.index_recall_at)
    except InputError as error:
        return GateCheck(name=name, passed=False, found=str(error), required=required)
    found = f"{recall:.4f} of exact search, {bundle.manifest.index.factory}"
    return GateCheck(name=name, passed=recall >= limits.index_recall_floor, found=found, required=required)


def _measured(index: ItemIndex, bundle: Bundle, k: int) -> float:
    return measured_recall(index, bundle.item_embeddings, bundle.user_embeddings, at=(k,))[f"recall@{k}"]


def _metrics(bundle: Bundle, current: Path | None, limits: GateLimits) -> Iterator[GateCheck]:
    serving, absence = _serving(current)
    for metric in limits.metrics:
        new = bundle.manifest.metrics.get("valid", {}).get(metric)
        old = None if serving is None else _to_beat(bundle.manifest, serving).get(metric)
        found = "not measured" if new is None else f"{new:.4f}"
        if serving is None or old is None or new is None:
            why = absence or f"not compared: {'the current' if old is None else 'this'} bundle has none"
            yield GateCheck(name=f"valid {metric}", passed=True, found=found, required=why)
        else:
            passed, required = _no_worse(new, old, bundle.manifest, serving, limits.metric_margin)
            yield GateCheck(name=f"valid {metric}", passed=passed, found=found, required=required)


def on_our_data(bundle_id: str) -> str:
    """Where a bundle that was trained later keeps this one's figures on its own validation split."""
    return f"valid of {bundle_id}"


def _to_beat(manifest: Manifest, serving: Manifest) -> dict[str, float]:
    """The figures of what serves: on the new bundle's data where the trainer measured them, else on its own."""
    return manifest.metrics.get(on_our_data(serving.bundle_id)) or serving.metrics.get("valid", {})


def _no_worse(new: float, old: float, manifest: Manifest, serving: Manifest, margin: float) -> tuple[bool, str]:
    floor = old * (1 - margin)
    required = f"at least {floor:.4f}: {old:.4f} of {serving.bundle_id}, less {margin:.0%}"
    if manifest.data_fingerprint != serving.data_fingerprint and on_our_data(serving.bundle_id) not in manifest.metrics:
        mine, theirs = manifest.data_fingerprint[:8], serving.data_fingerprint[:8]
        required += f"; on other data, {mine} against {theirs}: not like for like"
    return new >= floor, required


def _serving(current: Path | None) -> tuple[Manifest | None, str]:
    """The manifest to compare with, or why there is none; a broken current bundle must not bar a good one."""
    if current is None:
        return None, "nothing serves yet"
    try:
        return read_manifest(current), ""
    except BundleError as error:
        return None, f"not compared: the current bundle is unreadable: {error}"
