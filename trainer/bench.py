"""Times training steps at the true shape of a published data set, on content made up from a seed."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count, islice
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.table import Table

from trainer.device import Precision
from trainer.inputs import make_inputs
from trainer.memory import peak_gb
from trainer.model_settings import AnchorRecSettings, LightGCNSettings, ModelSettings
from trainer.models import Inputs, Recommender, build_model
from trainer.run_folder import parameters_of
from trainer.sampling import Batch, PairSampler

Array = np.ndarray[Any, np.dtype[Any]]

BATCH_SIZE = 2048
WARM_UP_STEPS = 2
RELEASED_CODE_S = 1.23
"""Seconds of one AnchorRec step of the released code at Baby's shape on two cores (MODELS.md, section 4)."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a data set."""

    n_users: int
    n_items: int
    n_pairs: int
    widths: tuple[tuple[str, int], ...]


BABY = Shape(19_445, 7_050, 118_551, (("multimodal", 768), ("text", 384), ("image", 4096)))

MODELS: dict[str, ModelSettings] = {
    "lightgcn": LightGCNSettings(),
    "anchorrec, paper": AnchorRecSettings(),
    "anchorrec, official": AnchorRecSettings.model_validate({"variant": "official"}),
}


@dataclass(frozen=True)
class StepCost:
    """Medians over the steps, in seconds, and the peak memory of a process that did nothing else."""

    step: float
    forward: float
    backward: float
    optimiser: float
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
    users, items = made_up_pairs(shape)
    inputs = _inputs(shape, users, items, settings)
    model = build_model(settings, inputs, batch_size=BATCH_SIZE, seed=0, precision=precision)
    graphs = perf_counter() - started
    optimiser = torch.optim.Adam(parameters_of(model), fused=True)
    sampler = PairSampler(users, items, shape.n_items, seed=0)
    endless = chain.from_iterable(sampler.epoch(number, BATCH_SIZE) for number in count())
    batches = islice(endless, WARM_UP_STEPS + steps)
    parts = [timed_step(model, optimiser, batch) for batch in batches][WARM_UP_STEPS:]
    forward, backward, update = (float(np.median(part)) for part in zip(*parts, strict=True))
    return StepCost(forward + backward + update, forward, backward, update, graphs, peak_gb())


def timed_step(model: Recommender, optimiser: torch.optim.Optimizer, batch: Batch) -> tuple[float, float, float]:
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


def made_up_pairs(shape: Shape) -> tuple[Array, Array]:
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
    widths = shape.widths if isinstance(settings, AnchorRecSettings) else ()
    features = {m: rng.standard_normal((shape.n_items, width), dtype=np.float32) for m, width in widths}
    cpu = torch.device("cpu")
    return make_inputs(users, items, shape.n_users, shape.n_items, features=features, settings=settings, device=cpu)


def cost_table(costs: dict[str, StepCost], *, title: str) -> Table:
    """One row a model, in milliseconds, and how many times faster than the released code a step is."""
    table = Table("model", "step", "forward", "backward", "Adam", "released code / ours", "peak memory", title=title)
    for name, cost in costs.items():
        seconds = (cost.step, cost.forward, cost.backward, cost.optimiser)
        times = [f"{part * 1e3:.0f} ms" for part in seconds]
        table.add_row(name, *times, f"{RELEASED_CODE_S / cost.step:.1f} x", f"{cost.peak_gb:.2f} GB")
    return table


def as_record(costs: dict[str, StepCost]) -> dict[str, dict[str, float]]:
    """The same for programs, rounded to what a timing is worth."""
    return {name: {part: round(value, 4) for part, value in asdict(cost).items()} for name, cost in costs.items()}
