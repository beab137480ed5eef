"""Runs side by side on the same data: what `fit`, `compare` and `evaluate` print."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from rich.table import Table

from index.errors import InputError
from trainer.config import RunConfig, load_config
from trainer.data import load_dataset
from trainer.fit import fit, make_model
from trainer.judge import HeldOut, Judge
from trainer.run_folder import RunFolder, RunResult, write_atomically

SHOWN = ("recall@20", "ndcg@20")


def fit_run(data: Path, config: RunConfig, out: Path) -> RunResult:
    """Fit one configuration on a prepared data folder."""
    return fit(load_dataset(data), config, RunFolder(out))


def compare_runs(data: Path, configs: Sequence[str], overrides: tuple[str, ...], out: Path) -> dict[str, RunResult]:
    """Fit each configuration into `out/<its name>` and write all figures to `out/comparison.json`."""
    loaded = {Path(name).stem: load_config(name, overrides) for name in configs}
    if len(loaded) < len(configs):
        raise InputError(f"configurations must differ in name, found {', '.join(configs)}")
    dataset = load_dataset(data)
    results = {name: fit(dataset, config, RunFolder(out / name)) for name, config in loaded.items()}
    record = {name: asdict(result) for name, result in results.items()}
    write_atomically(out / "comparison.json", json.dumps(record, indent=1).encode())
    return results


def measure_run(run: Path, split: str) -> dict[str, float]:
    """Metrics of a run's best state on `valid` or `test`."""
    if split not in ("valid", "test"):
        raise InputError(f"split is {split!r}, expected valid or test")
    folder = RunFolder(run)
    config, dataset = folder.config(), load_dataset(Path(folder.origin()["data"]))
    model = make_model(dataset, config)
    folder.load_best(model)
    return Judge(dataset, config).measure(model, cast(HeldOut, split))


def figures_table(results: Mapping[str, RunResult]) -> Table:
    """One row a run: validation and test figures, best epoch, size and speed."""
    table = Table(title="full ranking, training items masked, test at the best validation epoch")
    table.add_column("run")
    for split in ("valid", "test"):
        for metric in SHOWN:
            table.add_column(f"{split} {metric}", justify="right")
    for heading in ("best epoch", "parameters", "s/epoch"):
        table.add_column(heading, justify="right")
    for name, result in results.items():
        figures = [f"{values[metric]:.4f}" for values in (result.valid, result.test) for metric in SHOWN]
        cost = [str(result.best_epoch), f"{result.n_parameters:,}", f"{result.seconds_per_epoch:.2f}"]
        table.add_row(name, *figures, *cost)
    return table


def metrics_table(metrics: Mapping[str, float], *, title: str) -> Table:
    """Metrics as rows of a table."""
    table = Table("metric", "value", title=title)
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4f}")
    return table
