"""Retraining: merges the service's event log and stored items into the data, trains, and writes a new bundle.

OUT/retrain.json  the options that the folder was started with; later calls on it must have the same
OUT/data          the merged dataset (trainer/merge.py, trainer/merge_items.py)
OUT/run           the run folder (trainer/run_folder.py)
OUT/result.json   written last: the bundle's id
"""

import json
import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from index.auto.choice import AUTO, AutoLimits
from index.bundle import open_bundle, read_manifest
from index.bundle_store import StoreUnavailableError
from index.errors import InputError
from index.forgotten import ForgottenPeople
from index.gate import incumbent_split
from index.reading import read_json
from index.registry import Registry
from index.storage import TEMPORARY_PREFIX, locked, remove_leftovers, replace_file, sha256_of
from index.tables import Precision
from trainer.config import DEFAULT_CONFIG, RunConfig, load_config, parse_config
from trainer.data import Dataset, load_dataset, read_info
from trainer.datasets.encoding import FEATURE_CACHE
from trainer.datasets.event_log import DEFAULT_NEGATIVE, DEFAULT_POSITIVE, UserFeedback, event_files, read_feedback
from trainer.datasets.stored_items import item_files, read_stored_items
from trainer.evaluator import list_lengths
from trainer.export import EncoderChoice, export_run
from trainer.fit import fit
from trainer.incumbent import evaluate_bundle
from trainer.merge import MergeOptions, merge_feedback
from trainer.merge_items import ITEM_COUNTS, MergedItems, merge_items
from trainer.progress import print_status
from trainer.run_folder import RunFolder
from trainer.warm_start import WarmStart

OPTIONS, RESULT = "retrain.json", "result.json"


@dataclass(frozen=True)
class RetrainOptions:
    """Everything that determines the result of a retraining."""

    data: Path
    events: Path
    registry: Registry
    config: RunConfig
    positive: tuple[str, ...] = DEFAULT_POSITIVE
    negative: tuple[str, ...] = DEFAULT_NEGATIVE
    merging: MergeOptions = field(default_factory=MergeOptions)
    forgotten: ForgottenPeople = field(default_factory=ForgottenPeople)
    warm_start: Path | None = None  # a finished run folder
    factory: str = AUTO
    limits: AutoLimits = field(default_factory=AutoLimits)
    precision: Precision = "float32"
    trend_half_life_days: float = 30.0
    encoders: EncoderChoice = "auto"
    items: Path | None = None  # stored items, a file or a folder
    images: Path | None = None  # folder of pictures that stored items name
    cache: Path | None = None  # of encoded features; no result depends on it


@dataclass(frozen=True)
class Retrained:
    """The result: the new bundle, and counts of the merged events and items."""

    bundle: str
    path: str
    events_position: int
    counts: dict[str, int]


class _Begun(TypedDict):
    begun: datetime  # of the first call


EMPTY_FOLDER = "choose an empty folder"
_OPTIONS, _BEGUN, _RETRAINED = TypeAdapter(dict[str, Any]), TypeAdapter(_Begun), TypeAdapter(Retrained)


def retrain(options: RetrainOptions, out: Path, *, now: datetime) -> Retrained:
    """Merge, fit, evaluate the bundle that serves on the new data, export; finished steps are not repeated.

    A repeated call on the same folder continues where the last one stopped and ends in the same bundle. Nothing is
    published, and a failure leaves the registry unchanged.

    Raises:
        InputError: the folder was started with other options, an input is invalid, or the model cannot be served.
    """
    if not options.config.model.embeds:
        raise InputError(f"{options.config.model.name} has no embeddings: a retraining could not write its bundle")
    old = load_dataset(options.data)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out, wait=False):
            created_at = _claim(out, options, old, now)
            return _done(out, options.registry) or _run_steps(options, old, out, created_at)
    except BlockingIOError:
        raise InputError(f"another process is using {out}") from None


def serving_config(registry: Registry, overrides: tuple[str, ...]) -> RunConfig:
    """The configuration of the bundle that serves, under the overrides; of a first bundle AnchorEASE's defaults.

    InputError where the bundle was written by other software, whose settings are none of ours.
    """
    current = registry.current_id()
    if current is None:
        return load_config(DEFAULT_CONFIG, overrides)
    values = deepcopy(read_manifest(registry.path(current)).config)
    try:
        return parse_config(values, overrides, source=f"the configuration of {current}")
    except InputError as error:
        raise InputError(f"{error}; choose one with --config") from None


def _run_steps(options: RetrainOptions, old: Dataset, out: Path, created_at: datetime) -> Retrained:
    for parent in (out, options.registry.folder):
        remove_leftovers(parent)  # of a killed process
    dataset, feedback = _merged(options, old, out / "data")
    folder = RunFolder(out / "run")
    begin = WarmStart.of(RunFolder(options.warm_start), options.config, dataset) if options.warm_start else None
    print_status(f"training {options.config.model.name} into {folder.path}")
    fit(dataset, options.config, folder, begin=begin)
    print_status("writing the bundle")
    path = export_run(
        folder,
        options.registry,
        created_at=created_at,
        factory=options.factory,
        limits=options.limits,
        precision=options.precision,
        trend_half_life_days=options.trend_half_life_days,
        metrics=_incumbent_metrics(options, dataset),
        events_position=feedback.last_position,
        forgotten=options.forgotten.receipts,
        encoders=options.encoders,
    )
    merged = read_info(out / "data").counts
    counts = feedback.counts | {name: merged[name] for name in ITEM_COUNTS if name in merged}
    retrained = Retrained(path.name, options.registry.location(path.name), feedback.last_position, counts)
    replace_file(out / RESULT, json.dumps(asdict(retrained), indent=1).encode())
    return retrained


def _claim(out: Path, options: RetrainOptions, old: Dataset, now: datetime) -> datetime:
    """Assign the folder to this retraining, or check that it belongs to it; returns the time of its first call.

    That time is part of the bundle's id: a call after a kill must find the bundle that was already written.
    """
    current = _record(options, old)
    file = out / OPTIONS
    if not file.is_file():
        if out.is_dir() and (
            found := [path.name for path in out.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)]
        ):
            raise InputError(f"{out} is not empty and holds no retraining ({found[0]}); choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(current | {"begun": now.isoformat()}, indent=1).encode())
        return now
    begun = read_json(file, _OPTIONS, EMPTY_FOLDER)
    if differing := sorted(name for name in current if begun.get(name) != current[name]):
        name = differing[0]
        raise InputError(
            f"{out} was started with another {name}: {begun.get(name)!r:.80} there, {current[name]!r:.80} here"
        )
    return read_json(file, _BEGUN, EMPTY_FOLDER)["begun"]


def _record(options: RetrainOptions, old: Dataset) -> dict[str, Any]:
    record = {
        "data": old.fingerprint,
        "events": [sha256_of(file) for file in event_files(options.events)],
        "registry": str(options.registry),
        "configuration": options.config.model_dump(mode="json"),
        "positive kinds": list(options.positive),
        "negative kinds": list(options.negative),
        "validation share": options.merging.valid_share,
        "split seed": options.merging.seed,
        "forgotten people": sorted(options.forgotten.receipts),
        "warm start": options.warm_start and str(options.warm_start.resolve()),
        "factory": options.factory,
        "index limits": asdict(options.limits),
        "precision": options.precision,
        "half-life": options.trend_half_life_days,
        "encoders": options.encoders,
        "items": options.items and [sha256_of(file) for file in item_files(options.items)],
        "images": options.images and str(options.images.resolve()),
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain


def _done(out: Path, registry: Registry) -> Retrained | None:
    """The result of a finished retraining whose bundle is still there."""
    file = out / RESULT
    if not file.is_file():
        return None
    retrained = read_json(file, _RETRAINED, "remove it, and the retraining goes on")
    return retrained if registry.holds(retrained.bundle) else None


def _merged(options: RetrainOptions, old: Dataset, folder: Path) -> tuple[Dataset, UserFeedback]:
    print_status(f"reading {options.events}")
    feedback = read_feedback(options.events, options.positive, options.negative, options.forgotten)
    if not (folder / "dataset.json").is_file():
        items = _merged_items(options, old, folder)
        info = merge_feedback(old, feedback, options.merging, folder, items=items, forgotten=options.forgotten)
        counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in info.counts.items() if count)
        print_status("\n".join((f"{folder}: {counts}", *info.notes)))
    return load_dataset(folder), feedback


def _merged_items(options: RetrainOptions, old: Dataset, folder: Path) -> MergedItems | None:
    if options.items is None:
        return None
    print_status(f"reading {options.items}")
    stored = read_stored_items(options.items)
    return merge_items(old, stored, options.images, options.cache or _usual_cache(old, folder))


def _usual_cache(old: Dataset, folder: Path) -> Path:
    """Where `prepare` put encoded features, or beside the merged data where that is not writable."""
    beside = old.path.absolute().parent
    return (beside if os.access(beside, os.W_OK) else folder.absolute().parent) / FEATURE_CACHE


def _incumbent_metrics(options: RetrainOptions, dataset: Dataset) -> Mapping[str, Mapping[str, float]]:
    """The figures of the bundle that serves on the new validation split, under the name that the gate reads."""
    registry = options.registry
    current = registry.current_id()
    if current is None:
        return {}
    try:
        serving = open_bundle(registry.path(current))
    except StoreUnavailableError:
        raise
    except InputError as error:  # a damaged current bundle does not block the new one; the gate reports it too
        print_status(f"not compared with {current}: {error}")
        return {}
    figures = evaluate_bundle(serving, dataset, list_lengths(options.config))
    return {incumbent_split(current): figures} if figures else {}
