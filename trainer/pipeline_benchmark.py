"""Times `prepare`, item graphs, `fit` and `export`, each in its own process, and estimates what a full size takes."""

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import polars as pl
from rich.table import Table

from trainer.data import load_dataset
from trainer.nearest import nearest_items
from trainer.pipeline_estimate import Estimate, estimated
from trainer.progress import print_status
from trainer.scaling_benchmark import write_features
from trainer.step_benchmark import Shape, synthetic_pairs

SIZES = (10_000, 20_000, 33_000, 60_000, 100_000)
START_SIZE = 200
"""Items at which a command does little but start; an estimate is of what comes on top of that."""
WIDTHS = (("text", 384), ("image", 1280))
"""What the encoders that `prepare` uses by default give an item."""
MEASURED_USERS = 20_000
"""Users of each held-out part whose ranking `fit` measures: beyond them figures gain less than .001."""
FIRST_SECOND = 1_600_000_000  # interactions are a second apart
EPOCH_BATCH = 65_536
FIGURES = ("seconds", "processor", "peak_gb")


@dataclass(frozen=True)
class StageCost:
    """What one command took on one size, all of the process counted from its start."""

    n_items: int
    stage: str
    seconds: float
    processor: float
    """Seconds of processors: what it would take on one idle core."""
    peak_gb: float
    """Largest resident memory, with the pages of mapped files that were resident."""


def shape_of(n_items: int) -> Shape:
    """The proportions of 1,000,000 items, 2,000,000 users and 50,000,000 interactions."""
    return Shape(2 * n_items, n_items, 50 * n_items, WIDTHS)


def stages(folder: Path) -> dict[str, list[str]]:
    """The arguments of `python` for each stage, in order; each reads what the earlier ones wrote."""
    data, run = str(folder / "data"), str(folder / "anchorease")
    ready = [part for name, _ in WIDTHS for part in (f"--{name}-features", str(folder / f"{name}.npy"))]
    sets = ("device=cpu", f"evaluation.most_users={MEASURED_USERS}")
    epoch = ("training.epochs=1", f"training.batch_size={EPOCH_BATCH}")
    module = ["-m", "trainer"]
    source = [str(folder / "interactions.parquet"), "--items", str(folder / "items.parquet")]
    graphs = f"from trainer.pipeline_benchmark import item_graphs; item_graphs({data!r})"
    return {
        "prepare": [*module, "prepare", "table", *source, *ready, "--fused", "none", "--out", data],
        "graphs": ["-c", graphs],
        "anchorease": [*module, "fit", data, "--config", "anchorease-sparse", *_set(sets), "--out", run],
        "export": [*module, "export", run, "--registry", str(folder / "bundles")],
        "lightgcn": [
            *module,
            *("fit", data, "--config", "lightgcn", *_set((*sets, *epoch)), "--out", str(folder / "lightgcn")),
        ],
    }


def _set(values: Sequence[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


STAGES = tuple(stages(Path()))
NEEDS = dict.fromkeys(("graphs", "anchorease", "lightgcn"), ("prepare",)) | {"export": ("prepare", "anchorease")}


def bench_pipeline(sizes: Sequence[int], chosen: Sequence[str], *, parent: Path | None = None) -> list[StageCost]:
    """Run the stages, and those that they need, on START_SIZE items and each size; their files are removed after each.

    `parent` is the folder in which a size's files are made, by default that of temporary files.
    """
    needed = {stage for stage in STAGES for later in chosen if stage == later or stage in NEEDS.get(later, ())}
    costs = []
    for n_items in sorted({START_SIZE, *sizes}):
        shape = shape_of(n_items)
        with TemporaryDirectory(dir=parent) as folder:
            print_status(f"{n_items:,} items, {shape.n_users:,} users, {shape.n_pairs:,} interactions: made up")
            # In a process of its own: a command's peak is no less than that of the process which starts it.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(write_source, (Path(folder), shape))
            for stage, arguments in stages(Path(folder)).items():
                if stage in needed:
                    costs.append(run_stage(n_items, stage, arguments))
                    print_status(f"{n_items:,} items: {_told(costs[-1])}")
    return [cost for cost in costs if cost.stage in chosen]


# Linux counts what a process had in memory before it began its program, so a small process must start each command.
_LAUNCHER = """
import json, os, subprocess, sys
with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL) as process:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def run_stage(n_items: int, stage: str, arguments: Sequence[str]) -> StageCost:
    """Run one command to its end; CalledProcessError where it fails, after it has shown its errors."""
    started = perf_counter()
    command = [sys.executable, *arguments]
    measured = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], stdout=subprocess.PIPE, check=True)
    returncode, processor, peak_kib = json.loads(measured.stdout)
    if returncode:
        raise subprocess.CalledProcessError(returncode, command)
    seconds = perf_counter() - started
    return StageCost(n_items, stage, seconds, processor, peak_kib * 1024 / 1e9)


def _told(cost: StageCost) -> str:
    return f"{cost.stage} {cost.seconds:,.0f} s, {cost.processor:,.0f} s of processors, {cost.peak_gb:.2f} GB"


def write_source(folder: Path, shape: Shape) -> None:
    """Write interactions.parquet, items.parquet, and float16 features of each modality."""
    users, items = synthetic_pairs(shape)
    rows = pl.DataFrame({"user": users.astype(np.int32), "item": items.astype(np.int32)})
    named = rows.select(
        pl.format("u{}", "user").alias("user_id"),
        pl.format("B{}", "item").alias("item_id"),
        (FIRST_SECOND + pl.int_range(pl.len())).alias("timestamp"),
    )
    named.write_parquet(folder / "interactions.parquet")
    numbers = pl.select(pl.int_range(shape.n_items).alias("item"))
    described = numbers.select(
        pl.format("B{}", "item").alias("item_id"),
        pl.format("Product {} of series {}", "item", pl.col("item") % 997).alias("title"),
        pl.format("category {}", pl.col("item") % 30).alias("category"),
    )
    described.write_parquet(folder / "items.parquet")
    for seed, (modality, width) in enumerate(shape.widths):
        file = folder / f"{modality}.npy"
        table = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(shape.n_items, width))
        write_features(table, np.random.default_rng(seed))


def item_graphs(data: str) -> None:
    """Find each item's ten nearest of each modality, as AnchorEASE and AnchorRec do before they train."""
    dataset = load_dataset(Path(data), verify=False)
    for features in dataset.features.values():
        nearest_items(features, 11)


def estimates(costs: Sequence[StageCost], full_size: int) -> dict[str, dict[str, Estimate]]:
    """Seconds, seconds of processors and memory of each stage at the full size; of stages with two sizes or more."""
    by_stage: dict[str, list[StageCost]] = {}
    for cost in costs:
        by_stage.setdefault(cost.stage, []).append(cost)
    found = {}
    for stage, (start, *those) in by_stage.items():
        if len(those) > 1:
            of = partial(estimated, [cost.n_items for cost in those], full_size=full_size)
            found[stage] = {f: of([getattr(c, f) for c in those], start=getattr(start, f)) for f in FIGURES}
    return found


def pipeline_table(costs: Sequence[StageCost], *, title: str) -> Table:
    """One row a size and stage."""
    table = Table("items", "stage", "seconds", "processor", "memory", title=title)
    for cost in costs:
        seconds = (f"{cost.seconds:,.0f} s", f"{cost.processor:,.0f} s")
        table.add_row(f"{cost.n_items:,}", cost.stage, *seconds, f"{cost.peak_gb:.2f} GB")
    return table


def estimate_table(found: dict[str, dict[str, Estimate]], *, title: str) -> Table:
    """One row a stage: exponents, time and memory with their intervals, and memory by a straight line."""
    table = Table("stage", "seconds ~ items^", "seconds", "memory ~ items^", "memory", "by a line", title=title)
    for stage, figures in found.items():
        seconds, memory = figures["seconds"], figures["peak_gb"]
        table.add_row(
            stage,
            f"{seconds.exponent:.2f}",
            f"{seconds.value:,.0f} ({seconds.low:,.0f} to {seconds.high:,.0f})",
            f"{memory.exponent:.2f}",
            f"{memory.value:.1f} GB ({memory.low:.1f} to {memory.high:.1f})",
            f"{memory.straight:.1f} GB",
        )
    return table
