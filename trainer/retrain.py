"""Old data and the service's event log in, a new bundle out.

OUT/retrain.json  what the folder was begun with; another call on it must ask for the same
OUT/data          the merged dataset (trainer/merge.py)
OUT/run           the run folder (trainer/run_folder.py)
OUT/result.json   written last: the bundle
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from index.bundle import BundleError, open_bundle
from index.errors import InputError
from index.gate import on_our_data
from index.registry import Registry
from index.storage import TEMPORARY_PREFIX, locked, remove_leftovers, replace_file, sha256_of
from trainer.config import RunConfig
from trainer.data import Dataset, load_dataset
from trainer.datasets.events import DEFAULT_POSITIVE, Feedback, event_files, read_feedback
from trainer.evaluator import list_lengths
from trainer.export import export_run
from trainer.fit import fit
from trainer.incumbent import measure_bundle
from trainer.merge import Merging, merge_feedback
from trainer.progress import say
from trainer.run_folder import RunFolder
from trainer.warm_start import WarmStart

ORDER, RESULT = "retrain.json", "result.json"


@dataclass(frozen=True)
class Order:
    """All that decides what a retraining makes."""

    data: Path
    events: Path
    registry: Registry
    config: RunConfig
    positive: tuple[str, ...] = DEFAULT_POSITIVE
    merging: Merging = field(default_factory=Merging)
    warm_start: Path | None = None  # a finished run folder
    factory: str = "Flat"
    trend_half_life_days: float = 30.0


@dataclass(frozen=True)
class Retrained:
    """What came out."""

    bundle: str
    path: str
    events_position: int
    counts: dict[str, int]


def retrain(order: Order, out: Path, *, now: datetime) -> Retrained:
    """Merge, fit, measure the bundle that serves on the new data, export; each step that is done already is kept.

    Called again on the same folder after any end, it goes on where it stopped and ends in the same bundle. Nothing is
    published, and a failure leaves the registry as it was.

    Raises:
        InputError: the folder was begun with something else, or an input cannot be used.
    """
    old = load_dataset(order.data)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out, wait=False):
            created_at = _claim(out, order, old, now)
            return _done(out, order.registry) or _carry_out(order, old, out, created_at)
    except BlockingIOError:
        raise InputError(f"another process is at work in {out}") from None


def _carry_out(order: Order, old: Dataset, out: Path, created_at: datetime) -> Retrained:
    for parent in (out, order.registry.folder):
        remove_leftovers(parent)  # of a killed predecessor
    dataset, feedback = _merged(order, old, out / "data")
    folder = RunFolder(out / "run")
    begin = WarmStart.of(RunFolder(order.warm_start), order.config, dataset) if order.warm_start else None
    say(f"training {order.config.model.name} into {folder.path}")
    fit(dataset, order.config, folder, begin=begin)
    say("writing the bundle")
    path = export_run(
        folder,
        order.registry,
        created_at=created_at,
        factory=order.factory,
        trend_half_life_days=order.trend_half_life_days,
        metrics=_to_beat(order, dataset),
        events_position=feedback.last_position,
    )
    retrained = Retrained(path.name, order.registry.location(path.name), feedback.last_position, feedback.counts)
    replace_file(out / RESULT, json.dumps(asdict(retrained), indent=1).encode())
    return retrained


def _claim(out: Path, order: Order, old: Dataset, now: datetime) -> datetime:
    """Make the folder this retraining's, or make sure that it is; returns when it was begun.

    That time goes into the bundle's id: a call that was killed after it had written the bundle must find it again.
    """
    asked = _record(order, old)
    file = out / ORDER
    if not file.is_file():
        if out.is_dir() and (
            found := [path.name for path in out.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)]
        ):
            raise InputError(f"{out} is not empty and holds no retraining ({found[0]}); choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(asked | {"begun": now.isoformat()}, indent=1).encode())
        return now
    begun: dict[str, Any] = json.loads(file.read_text())
    if differing := sorted(name for name in asked if begun.get(name) != asked[name]):
        name = differing[0]
        raise InputError(
            f"{out} was begun with another {name}: {begun.get(name)!r:.80} there, {asked[name]!r:.80} here"
        )
    return datetime.fromisoformat(begun["begun"])


def _record(order: Order, old: Dataset) -> dict[str, Any]:
    record = {
        "data": old.fingerprint,
        "events": [sha256_of(file) for file in event_files(order.events)],
        "registry": str(order.registry),
        "configuration": order.config.model_dump(mode="json"),
        "positive kinds": list(order.positive),
        "validation share": order.merging.valid_share,
        "split seed": order.merging.seed,
        "warm start": order.warm_start and str(order.warm_start.resolve()),
        "factory": order.factory,
        "half-life": order.trend_half_life_days,
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain


def _done(out: Path, registry: Registry) -> Retrained | None:
    """The result of a finished retraining whose bundle is still there."""
    file = out / RESULT
    if not file.is_file():
        return None
    retrained = Retrained(**json.loads(file.read_text()))
    return retrained if registry.holds(retrained.bundle) else None


def _merged(order: Order, old: Dataset, folder: Path) -> tuple[Dataset, Feedback]:
    say(f"reading {order.events}")
    feedback = read_feedback(order.events, order.positive)
    if not (folder / "dataset.json").is_file():
        info = merge_feedback(old, feedback, order.merging, folder)
        told = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in info.counts.items() if count)
        say(f"{folder}: {told}")
    return load_dataset(folder), feedback


def _to_beat(order: Order, dataset: Dataset) -> Mapping[str, Mapping[str, float]]:
    """The figures of the bundle that serves on the new validation split, by the name under which the gate looks."""
    registry = order.registry
    current = registry.current_id()
    if current is None:
        return {}
    try:
        serving = open_bundle(registry.path(current), verify=False)
    except BundleError as error:  # a damaged one must not bar a good one; the gate says the same
        say(f"not compared with {current}: {error}")
        return {}
    figures = measure_bundle(serving, dataset, list_lengths(order.config))
    return {on_our_data(current): figures} if figures else {}
