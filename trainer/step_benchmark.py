"""Times training steps at the true shape of a published data set, on synthetic data."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count, islice
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.table import Table

from trainer.config import load_config
from trainer.device import Precision
from trainer.inputs import Features, make_inputs, wanted_modalities
from trainer.memory import peak_gb
from trainer.model_settings import AnchorRecSettings, LightGCNSettings, ModelSettings
from trainer.models import GradientModel, Inputs, build_model
from trainer.run_folder import parameters_of
from trainer.sampling import Batch, PairSampler

Array = np.ndarray[Any, np.dtype[Any]]

BATCH_SIZE = 2048
WARM_UP_STEPS = 2
REFERENCE_S = {
    "lightgcn": 0.08,
    "vbpr": 0.09,
    "freedom": 0.34,
    "bm3": 0.39,
    "alignrec": 0.34,
    "smore": 0.60,
    "anchorrec": 1.23,
    "lgmrec": 1.05,
    "damrs": 1.08,
    "lattice": 0.20,
}
"""Seconds of a reference implementation's step at Baby's shape (docs/measurements/models.md#a-training-step).

LATTICE's first step of an epoch takes 35 there.
"""


@dataclass(frozen=True)
class Shape:
    """Sizes of a data set."""

    n_users: int
    n_items: int
    n_pairs: int
    widths: tuple[tuple[str, int], ...]


BABY = Shape(19_445, 7_050, 118_551, (("multimodal", 768), ("text", 384), ("image", 4096)))

ALWAYS: dict[str, ModelSettings] = {
    "lightgcn": LightGCNSettings(),
    "anchorrec, paper": AnchorRecSettings(),
    "anchorrec, official": AnchorRecSettings.model_validate({"variant": "official"}),
}
"""The models timed by default."""
MODELS = ALWAYS | {name: load_config(name).model for name in ("bpr", *REFERENCE_S) if name != "anchorrec"}


@dataclass(frozen=True)
class StepCost:
    """Medians over the steps, in seconds, and the peak memory of a process that did nothing else."""

    step: float
    forward: float
    backward: float
    optimiser: float
    first: float
    """The first step of an epoch, with what a model draws or builds then."""
    graphs: float
    """Building graphs and model, once a run."""
    peak_gb: float


def bench(
    models: Sequence[str], shape: Shape, *, steps: int, threads: int, precision: Precision = "float32"
) -> dict[str, StepCost]:
    """Time each model in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(_measure, (MODELS[name], shape, steps, threads, precision)) for name in models}


def _measure(settings: ModelSettings, shape: Shape, steps: int, threads: int, precision: Precision) -> StepCost:
    torch.set_num_threads(threads)
    started = perf_counter()
    users, items = synthetic_pairs(shape)
    inputs = _inputs(shape, users, items, settings)
    model = build_model(settings, inputs, batch_size=BATCH_SIZE, seed=0, precision=precision)
    assert isinstance(model, GradientModel)
    graphs = perf_counter() - started
    optimiser = torch.optim.Adam(parameters_of(model), fused=True)
    sampler = PairSampler(users, items, shape.n_items, seed=0)
    endless = chain.from_iterable(sampler.epoch(number, BATCH_SIZE) for number in count())
    for batch in islice(endless, WARM_UP_STEPS):
        timed_step(model, optimiser, batch)
    started = perf_counter()
    model.begin_epoch()
    timed_step(model, optimiser, next(endless))
    first = perf_counter() - started
    parts = [timed_step(model, optimiser, batch) for batch in islice(endless, steps)]
    forward, backward, update = (float(np.median(part)) for part in zip(*parts, strict=True))
    return StepCost(forward + backward + update, forward, backward, update, first, graphs, peak_gb())


def timed_step(model: GradientModel, optimiser: torch.optim.Optimizer, batch: Batch) -> tuple[float, float, float]:
    """Seconds of forward, backward and update."""
    optimiser.zero_grad(set_to_none=True)
    times = [perf_counter()]
    terms = model.loss_terms(*(torch.from_numpy(rows) for rows in batch))
    loss = torch.stack(list(terms.values())).sum()
    times.append(perf_counter())
    loss.backward()  # type: ignore[no-untyped-call]
    times.append(perf_counter())
    optimiser.step()
    times.append(perf_counter())
    forward, backward, update = np.diff(times).tolist()
    return forward, backward, update


def synthetic_pairs(shape: Shape) -> tuple[Array, Array]:
    """Distinct user-item pairs, items by a Zipf-like law as in a shop."""
    rng = np.random.default_rng(0)
    weights = 1.0 / np.arange(10, shape.n_items + 10) ** 0.8
    drawn = np.empty(0, np.int64)
    while len(drawn) < shape.n_pairs:
        users = rng.integers(shape.n_users, size=shape.n_pairs)
        items = rng.choice(shape.n_items, size=shape.n_pairs, p=weights / weights.sum())
        drawn = np.unique(np.concatenate([drawn, users * shape.n_items + items]))
    drawn = rng.permutation(drawn)[: shape.n_pairs]
    return drawn // shape.n_items, drawn % shape.n_items


def _inputs(shape: Shape, users: Array, items: Array, settings: ModelSettings) -> Inputs:
    rng = np.random.default_rng(1)
    widths = dict(shape.widths)
    features: Features = {
        m: rng.standard_normal((shape.n_items, widths[m]), dtype=np.float32) for m in wanted_modalities(settings)
    }
    cpu = torch.device("cpu")
    return make_inputs(users, items, shape.n_users, shape.n_items, features=features, settings=settings, device=cpu)


def cost_table(costs: dict[str, StepCost], *, title: str) -> Table:
    """One row a model, in milliseconds, and how many times faster than its reference implementation a step is."""
    columns = ("model", "step", "forward", "backward", "Adam", "first of an epoch", "reference / ours", "peak memory")
    table = Table(*columns, title=title)
    for name, cost in costs.items():
        seconds = (cost.step, cost.forward, cost.backward, cost.optimiser, cost.first)
        times = [f"{part * 1e3:.0f} ms" for part in seconds]
        reference = REFERENCE_S.get(name.partition(",")[0])
        table.add_row(name, *times, f"{reference / cost.step:.1f} x" if reference else "", f"{cost.peak_gb:.2f} GB")
    return table


def as_record(costs: dict[str, StepCost]) -> dict[str, dict[str, float]]:
    """The same for programs, rounded to what a timing is worth."""
    return {name: {part: round(value, 4) for part, value in asdict(cost).items()} for name, cost in costs.items()}
