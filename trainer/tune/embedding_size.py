"""Chooses the number of dimensions: validation figures against the cost of a search."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.table import Table

from index.item_index import ItemIndex
from trainer.config import RunConfig
from trainer.data import Dataset
from trainer.evaluator import Evaluator
from trainer.fit import make_model
from trainer.models import RecommenderModel, Shared, Work
from trainer.models.anchorease import AnchorEASE

Array = np.ndarray[Any, np.dtype[Any]]

SIZES = (64, 128, 256, 512)
KEPT = 0.99
"""Share of the best validation figure that the smallest acceptable size keeps."""
SEARCHES = 50
"""Single queries behind the median time of a search."""


class SizeTrial(NamedTuple):
    """One number of dimensions: what it reaches and what it costs to serve."""

    embedding_size: int
    score: float
    search_ms: float
    """Median of an exact search for one user, one thread."""
    megabytes: float
    """Of the item embeddings."""


def compare_sizes(dataset: Dataset, config: RunConfig, shared: Shared) -> list[SizeTrial]:
    """Solve for the largest size and measure its leading dimensions on validation; the singular vectors are nested."""
    model = make_model(dataset, with_size(config, SIZES[-1]))
    assert isinstance(model, AnchorEASE)
    with torch.no_grad():
        model.solution = model.solve(Work(shared))
        largest = model.embeddings()[1].shape[1]
        sizes = [size for size in SIZES if size < largest] + [largest]
        evaluator = Evaluator(dataset, config)
        return [_trial(model.truncated(size), evaluator, config.training.metric) for size in sizes]


def chosen_size(trials: Sequence[SizeTrial]) -> int:
    """The smallest size that keeps KEPT of the best figure."""
    best = max(trial.score for trial in trials)
    return min(trial.embedding_size for trial in trials if trial.score >= KEPT * best)


def size_table(trials: Sequence[SizeTrial], metric: str) -> Table:
    """All sizes, the chosen one marked."""
    table = Table(title=f"dimensions: the smallest that keeps {KEPT:.0%} of the best valid {metric}")
    for heading in ("d", f"valid {metric}", "ms a search", "MB of items", ""):
        table.add_column(heading, justify="right")
    chosen = chosen_size(trials)
    for size, score, search_ms, megabytes in trials:
        mark = "chosen" if size == chosen else ""
        table.add_row(str(size), f"{score:.4f}", f"{search_ms:.2f}", f"{megabytes:.1f}", mark)
    return table


def with_size(config: RunConfig, size: int) -> RunConfig:
    """The same configuration with another number of dimensions."""
    return config.model_copy(update={"model": config.model.model_copy(update={"embedding_size": size})})


def _trial(model: RecommenderModel, evaluator: Evaluator, metric: str) -> SizeTrial:
    users, items = (table.cpu().numpy() for table in model.embeddings())
    score = evaluator.accuracy(model, "valid")[metric]
    return SizeTrial(items.shape[1], score, _search_ms(users[:SEARCHES], items), items.nbytes / 1e6)


def _search_ms(users: Array, items: Array) -> float:
    index = ItemIndex.build(np.ascontiguousarray(items), "Flat")
    seconds = []
    for row in range(len(users)):
        started = time.perf_counter()
        index.search(users[row : row + 1], 20)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) * 1e3
