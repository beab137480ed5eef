"""The gate: the checks that a bundle must pass before it is published."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from index.bundle import Bundle, open_bundle
from index.comparison import Timer, list_checks, size_checks
from index.errors import BundleError, InputError
from index.gate_report import DEFAULT_LIMITS, GateCheck, GateLimits, GateReport
from index.invariants import fold_in_error, part_sum_error
from index.item_index import ItemIndex
from index.layout import first_non_finite_row
from index.manifest import Manifest
from index.recall import PROMISED_AT, measured_recall

__all__ = ["GateCheck", "GateLimits", "GateReport", "check_bundle", "incumbent_split"]


def check_bundle(
    path: Path,
    current: Path | None,
    limits: GateLimits = DEFAULT_LIMITS,
    *,
    replay: Sequence[str] = (),
    timer: Timer = time.perf_counter,
) -> GateReport:
    """Run every check on the bundle at `path`, against the bundle that serves now (None: nothing serves yet).

    A bad bundle raises no error but fails checks. Reads the whole bundle. `replay` are ids of users with recent
    requests: they come first into the sample of users whose recommendations are compared.
    """
    try:
        bundle = open_bundle(path)
    except BundleError as error:
        sums = GateCheck(name="files and sums", passed=False, found=str(error), required="as the manifest says")
        return GateReport(bundle_id=path.name, checks=(sums,))
    numbers = _finite_check(bundle)
    if not numbers.passed:  # results computed from such numbers are meaningless
        return GateReport(bundle_id=bundle.bundle_id, checks=(_file_check(bundle), numbers))
    serving, absence = _open_current(current)
    checks = (
        _file_check(bundle),
        numbers,
        *_invariant_checks(bundle, limits),
        *_search_checks(bundle, serving, limits, replay, timer),
        *size_checks(bundle, serving, limits),
        *_metric_checks(bundle.manifest, None if serving is None else serving.manifest, absence, limits),
    )
    return GateReport(bundle_id=bundle.bundle_id, checks=checks)


def _file_check(bundle: Bundle) -> GateCheck:
    n_files, named = len(bundle.manifest.files), bundle.path.name == bundle.bundle_id
    return GateCheck(
        name="files and sums",
        passed=named,
        found=f"{n_files} files as the manifest says" if named else f"a folder named {bundle.path.name}",
        required="whole files in a folder of the bundle's name",
    )


def _invariant_checks(bundle: Bundle, limits: GateLimits) -> Iterator[GateCheck]:
    errors = {
        "parts sum to items": part_sum_error(bundle.item_embeddings, bundle.item_parts),
        "fold-in gives users": fold_in_error(
            bundle.user_embeddings,
            bundle.user_own,
            bundle.fold_in,
            bundle.seen_offsets,
            bundle.seen_items,
            recency=bundle.recency,
        ),
    }
    for name, error in errors.items():
        yield GateCheck(
            name=name,
            passed=error <= limits.law_tolerance,
            found=f"relative error {error:.2g}",
            required=f"at most {limits.law_tolerance:g}",
        )


def _finite_check(bundle: Bundle) -> GateCheck:
    numbers = {name.removesuffix(".npy"): array for name, array in bundle.arrays().items() if array.dtype.kind == "f"}
    found = {name: row for name, array in numbers.items() if (row := first_non_finite_row(array)) is not None}
    rows = ", ".join(f"row {row} of {name} is not" for name, row in found.items())
    return GateCheck(name="finite numbers", passed=not found, found=rows or "all are", required="every number finite")


def _search_checks(
    bundle: Bundle, serving: Bundle | None, limits: GateLimits, replay: Sequence[str], timer: Timer
) -> Iterator[GateCheck]:
    """Checks of the index's recall against exact search, and of the recommendations it gives."""
    try:
        index = bundle.index()
    except InputError as error:
        name, required = f"index recall@{limits.index_recall_at}", f"at least {limits.index_recall_floor:g}"
        yield GateCheck(name=name, passed=False, found=str(error), required=required)
        return
    yield from _recall_checks(bundle, index, limits)
    yield from list_checks(bundle, index, serving, limits, replay=replay, timer=timer)


def _recall_checks(bundle: Bundle, index: ItemIndex, limits: GateLimits) -> Iterator[GateCheck]:
    """Checks of the recall, without seen items, against the limit and against what the bundle promises, if it does."""
    info, k = bundle.manifest.index, limits.index_recall_at
    at = (k,) if info.promised is None else (k, PROMISED_AT)
    recall = measured_recall(index, bundle.item_embeddings, bundle.user_embeddings, bundle.seen, at=at)
    settings = "".join(f", {name} {value}" for name, value in index.settings.items())
    floors = [(f"index recall@{k}", k, limits.index_recall_floor, "")]
    if info.promised is not None:
        floors.append((f"promised recall@{PROMISED_AT}", PROMISED_AT, info.promised, ": the bundle's promise"))
    for name, length, floor, why in floors:
        value = recall[f"recall@{length}"]
        found = f"{value:.4f} of exact search, {info.factory}{settings}"
        yield GateCheck(name=name, passed=value >= floor, found=found, required=f"at least {floor:g}{why}")


def _metric_checks(
    manifest: Manifest, serving: Manifest | None, absence: str, limits: GateLimits
) -> Iterator[GateCheck]:
    for metric in limits.metrics:
        new = manifest.metrics.get("valid", {}).get(metric)
        old = None if serving is None else _incumbent_metrics(manifest, serving).get(metric)
        found = "not measured" if new is None else f"{new:.4f}"
        if serving is None or old is None or new is None:
            why = absence or f"not compared: {'the current' if old is None else 'this'} bundle has none"
            yield GateCheck(name=f"valid {metric}", passed=True, found=found, required=why)
        else:
            passed, required = _no_worse(new, old, manifest, serving, limits.metric_margin)
            yield GateCheck(name=f"valid {metric}", passed=passed, found=found, required=required)


def incumbent_split(bundle_id: str) -> str:
    """The name in a later bundle's `metrics` of this bundle's figures on the later bundle's validation split."""
    return f"valid of {bundle_id}"


def _incumbent_metrics(manifest: Manifest, serving: Manifest) -> dict[str, float]:
    """The current bundle's figures: on the new bundle's data where the trainer measured them, else on its own."""
    return manifest.metrics.get(incumbent_split(serving.bundle_id)) or serving.metrics.get("valid", {})


def _no_worse(new: float, old: float, manifest: Manifest, serving: Manifest, margin: float) -> tuple[bool, str]:
    floor = old * (1 - margin)
    required = f"at least {floor:.4f}: {old:.4f} of {serving.bundle_id}, less {margin:.0%}"
    if (
        manifest.data_fingerprint != serving.data_fingerprint
        and incumbent_split(serving.bundle_id) not in manifest.metrics
    ):
        mine, theirs = manifest.data_fingerprint[:8], serving.data_fingerprint[:8]
        required += f"; on other data, {mine} against {theirs}: not comparable"
    return new >= floor, required


def _open_current(current: Path | None) -> tuple[Bundle | None, str]:
    """The bundle to compare with, or why there is none; an unreadable current bundle does not block a good one."""
    if current is None:
        return None, "nothing serves yet"
    try:
        bundle = open_bundle(current)
        bundle.index()
    except InputError as error:
        return None, f"not compared: the current bundle is unreadable: {error}"
    return bundle, ""
