"""Times graphs, steps and an epoch on catalogues of growing size, with the memory that each takes."""

import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import faiss
import numpy as np
import polars as pl
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from trainer.data import NO_TIME, Dataset, Interactions
from trainer.inputs import build_inputs
from trainer.memory import peak_gb
from trainer.model_settings import ModelSettings
from trainer.models import GradientModel, build_model
from trainer.progress import print_status, track
from trainer.run_folder import parameters_of
from trainer.sampling import PairSampler
from trainer.step_benchmark import WARM_UP_STEPS, Shape, synthetic_pairs, timed_step

Array = np.ndarray[Any, np.dtype[Any]]

SIZES = (25_000, 50_000, 100_000, 200_000)
BATCH_SIZE = 65_536
WIDTHS = (("multimodal", 512), ("text", 384), ("image", 768))

_LATENT = 128
_LEVELS = ((None, 1.0), (500, 0.8), (20, 0.7), (1, 0.7))
"""Items in a department (None: 30 departments), category, family and alone, each with its spread."""
_NOISE = 0.3
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class ScaleCost:
    """Seconds and memory of one size, in a process that did nothing else."""

    n_items: int
    n_users: int
    n_interactions: int
    graphs: float
    """Reading the features and building the item graphs and the user-item graph, once a run."""
    recall: float
    """Share of the true neighbours in the item graph that has the fewest of them."""
    step: float
    """Median."""
    steps_an_epoch: int
    epoch: float
    epoch_was_run: bool
    """Else the epoch is its steps times the median, and the drawing of its pairs."""
    peak_gb: float


def shape_of(n_items: int) -> Shape:
    """The proportions of 200,000 items, 500,000 users and 5,000,000 interactions."""
    return Shape(n_items * 5 // 2, n_items, n_items * 25, WIDTHS)


def bench_scale(
    sizes: Sequence[int], settings: ModelSettings, *, steps: int, threads: int, batch_size: int, epoch: bool
) -> list[ScaleCost]:
    """Measure each size, given in items; with `epoch`, run a whole one at the largest."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        costs = []
        for n_items in sorted(sizes):
            shape, limit = shape_of(n_items), None if epoch and n_items == max(sizes) else WARM_UP_STEPS + steps
            with TemporaryDirectory() as folder:
                print_status(f"{n_items:,} items, {shape.n_users:,} users, {shape.n_pairs:,} interactions")
                pool.apply(write_synthetic_data, (Path(folder), shape))
                how = {"limit": limit, "threads": threads, "batch_size": batch_size}
                costs.append(pool.apply(measure_size, (Path(folder), shape, settings), how))
            print_status(json.dumps(as_record(costs[-1])))
        return costs


def write_synthetic_data(folder: Path, shape: Shape) -> None:
    """Write users.npy and items.npy of all interactions, and float16 features of each modality.

    Features lie in departments, categories and families of items. At the size of a real table of poster features
    (3,650 items), 95 % of the neighbours lie in as large a share of the k-means lists as there: a third.
    """
    for name, rows in zip(("users", "items"), synthetic_pairs(shape), strict=True):
        np.save(folder / f"{name}.npy", rows.astype(np.int32))
    for seed, (modality, width) in enumerate(shape.widths):
        file = folder / f"{modality}.npy"
        table = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(shape.n_items, width))
        write_features(table, np.random.default_rng(seed))


def write_features(table: Array, rng: np.random.Generator) -> None:
    """Fill a table (n_items, width) with rows that lie in departments, categories and families of items."""
    n_items, width = table.shape
    scale = np.arange(1, _LATENT + 1) ** -0.5
    latent = np.zeros((n_items, _LATENT), np.float32)
    for size, spread in _LEVELS:
        n_groups = max(1, n_items // size) if size else 30
        centres = rng.standard_normal((n_groups, _LATENT), dtype=np.float32) * np.float32(spread)
        latent += centres[rng.integers(n_groups, size=n_items)] if size != 1 else centres
    axes = (rng.standard_normal((_LATENT, width)) * (scale / np.linalg.norm(scale))[:, None]).astype(np.float32)
    for start in range(0, n_items, _ROWS_AT_ONCE):
        part = latent[start : start + _ROWS_AT_ONCE]
        table[start : start + len(part)] = part @ axes + _NOISE * rng.standard_normal((len(part), width))


def open_synthetic_data(folder: Path, shape: Shape) -> Dataset:
    """All interactions in the training split, the features memory-mapped."""
    users, items = (np.load(folder / f"{name}.npy") for name in ("users", "items"))
    features = {modality: np.load(folder / f"{modality}.npy", mmap_mode="r") for modality, _ in shape.widths}
    no_times, train = np.full(len(users), NO_TIME, dtype=np.int64), np.zeros(len(users), dtype=np.int8)
    return Dataset(
        name="synthetic",
        user_ids=[str(row) for row in range(shape.n_users)],
        item_ids=[str(row) for row in range(shape.n_items)],
        interactions=Interactions(users, items, no_times, train),
        items=pl.DataFrame(),
        features=features,
        fingerprint="",
        path=folder,
    )


def measure_size(
    folder: Path, shape: Shape, settings: ModelSettings, *, limit: int | None, threads: int, batch_size: int
) -> ScaleCost:
    """Build graphs and a model of synthetic data, then run `limit` steps of an epoch (None: all of it)."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    dataset = open_synthetic_data(folder, shape)
    started = perf_counter()
    inputs = build_inputs(dataset, settings, torch.device("cpu"))
    graphs = perf_counter() - started
    model = build_model(settings, inputs, batch_size=batch_size, seed=0)
    assert isinstance(model, GradientModel)
    optimiser = torch.optim.Adam(parameters_of(model), fused=True)
    train = dataset.interactions
    sampler = PairSampler(train.user_rows, train.item_rows, dataset.n_items, seed=0)
    n_steps = ceil(len(sampler) / batch_size)
    n_run = n_steps if limit is None else min(limit, n_steps)
    started = perf_counter()
    batches = islice(sampler.epoch(0, batch_size), n_run)
    times = [sum(timed_step(model, optimiser, batch)) for batch in track(batches, "steps", total=n_run)]
    elapsed = perf_counter() - started
    step = float(np.median(times[WARM_UP_STEPS:] or times))
    return ScaleCost(
        n_items=dataset.n_items,
        n_users=dataset.n_users,
        n_interactions=len(train),
        graphs=graphs,
        recall=min(inputs.graph_recall.values(), default=1.0),
        step=step,
        steps_an_epoch=n_steps,
        epoch=elapsed if n_run == n_steps else elapsed - sum(times) + n_steps * step,
        epoch_was_run=n_run == n_steps,
        peak_gb=peak_gb(),
    )


def scale_table(costs: Sequence[ScaleCost], *, title: str) -> Table:
    """One row a size."""
    columns = ("items", "users", "pairs", "graphs", "recall", "step", "epoch", "memory")
    table = Table(*columns, title=title, caption="~ projected from the median step")
    for cost in costs:
        sizes = (f"{n:,}" for n in (cost.n_items, cost.n_users, cost.n_interactions))
        epoch = f"{'' if cost.epoch_was_run else '~'}{cost.epoch:,.0f} s"
        times = (f"{cost.graphs:,.1f} s", f"{cost.recall:.1%}", f"{cost.step:.2f} s", epoch)
        table.add_row(*sizes, *times, f"{cost.peak_gb:.2f} GB")
    return table


def plot_scale(costs: Sequence[ScaleCost], path: Path) -> None:
    """Draw seconds (left) and peak memory (right) by number of items, on logarithmic axes, into a PNG file."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    seconds, memory = figure.subplots(1, 2)
    n_items = [cost.n_items for cost in costs]
    for part in ("graphs", "step", "epoch"):
        seconds.plot(n_items, [getattr(cost, part) for cost in costs], marker="o", label=part)
    memory.plot(n_items, [cost.peak_gb for cost in costs], marker="o", label="peak resident memory")
    for axes, unit in ((seconds, "seconds"), (memory, "GB")):
        axes.set(xlabel="items (2.5 users and 25 interactions each)", ylabel=unit, xscale="log", yscale="log")
        axes.set_xticks(n_items, [f"{n:,}" for n in n_items])
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}" if unit == "GB" else "")
        axes.grid(which="both", alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def as_record(cost: Any) -> dict[str, Any]:
    """The same for programs, rounded to what a timing is worth."""
    return {part: round(value, 4) if isinstance(value, float) else value for part, value in asdict(cost).items()}
