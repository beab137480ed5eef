"""Times models that are computed at once, from features to a written bundle, on catalogues of growing size."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import faiss
import numpy as np
import polars as pl
import torch
from rich.table import Table

from index.bundle import write_bundle
from trainer.config import RunConfig, load_config
from trainer.data import Dataset
from trainer.export import content_of, factors_of
from trainer.fit import make_model
from trainer.memory import peak_gb
from trainer.models import FittedModel, Work
from trainer.progress import print_status
from trainer.scaling_benchmark import open_synthetic_data, shape_of, write_synthetic_data
from trainer.step_benchmark import Shape

CONFIGS = ("anchorease", "anchorease-sparse")
"""Configurations that it takes."""


@dataclass(frozen=True)
class FitCost:
    """Seconds and memory of one size, in a process that did nothing else."""

    n_items: int
    n_users: int
    n_interactions: int
    inputs: float
    """Reading the features and the interactions."""
    solve: float
    """Item graphs, filter, factors and anchors."""
    export: float
    """Taking the model apart, and writing the bundle with its index."""
    processor: float
    """Seconds of processors that all of it took: what it would take on one idle core."""
    peak_gb: float

    @property
    def total(self) -> float:
        """Seconds of all of it."""
        return self.inputs + self.solve + self.export


def bench_fit(sizes: Sequence[int], name: str, *, threads: int) -> list[FitCost]:
    """Measure each size, given in items."""
    config = load_config(name, ("device=cpu",))
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        costs = []
        for n_items in sorted(sizes):
            shape = shape_of(n_items)
            with TemporaryDirectory() as folder:
                print_status(f"{n_items:,} items, {shape.n_users:,} users, {shape.n_pairs:,} interactions")
                pool.apply(write_synthetic_data, (Path(folder), shape))
                costs.append(pool.apply(measure_fit, (Path(folder), shape, config, threads)))
            print_status(str(costs[-1]))
        return costs


def measure_fit(folder: Path, shape: Shape, config: RunConfig, threads: int) -> FitCost:
    """Compute a model of synthetic data and write its bundle."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    dataset = _with_order(open_synthetic_data(folder, shape))
    times = [perf_counter()]
    model = make_model(dataset, config)
    assert isinstance(model, FittedModel)
    times.append(perf_counter())
    with torch.no_grad():
        model.solution = model.solve(Work())
    times.append(perf_counter())
    content = content_of(factors_of(model), config, dataset, {}, trend_half_life_days=30.0)
    write_bundle(folder / "bundles", content, created_at=datetime.now(UTC), factory="Flat")
    times.append(perf_counter())
    sizes = dataset.n_items, dataset.n_users, len(dataset.interactions)
    inputs, solve, export = np.diff(times).tolist()
    return FitCost(*sizes, inputs, solve, export, process_time(), peak_gb())


def fit_table(costs: Sequence[FitCost], *, title: str) -> Table:
    """One row a size."""
    table = Table("items", "users", "pairs", "inputs", "solve", "export", "total", "processor", "memory", title=title)
    for cost in costs:
        sizes = (f"{n:,}" for n in (cost.n_items, cost.n_users, cost.n_interactions))
        seconds = (f"{s:,.0f} s" for s in (cost.inputs, cost.solve, cost.export, cost.total, cost.processor))
        table.add_row(*sizes, *seconds, f"{cost.peak_gb:.2f} GB")
    return table


def _with_order(dataset: Dataset) -> Dataset:
    """Interactions a second apart, and items without metadata."""
    interactions = dataset.interactions
    blank = [""] * dataset.n_items
    items = pl.DataFrame({"title": blank, "category": blank, "image": blank, "attributes": ["{}"] * dataset.n_items})
    ordered = replace(interactions, timestamps=np.arange(len(interactions), dtype=np.int64))
    return replace(dataset, interactions=ordered, items=items, fingerprint="0" * 64)
