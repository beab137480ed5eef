"""Recall@20 of every method on the cold and on the warm items of one draw, by the arrays of bundles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cold_items.hiding import PreparedData
from benchmarks.cold_items.recall import Target
from benchmarks.cold_items.scoring import (
    bundle_scores,
    content_scores,
    popular_scores,
    random_scores,
    visible_past,
)
from index.bundle import open_bundle

Array = np.ndarray[Any, Any]

MODEL, TRAINED, CONTENT, POPULAR, RANDOM = "content path", "had they been trained", "mean features", "popular", "random"


@dataclass(frozen=True)
class OfflineResult:
    """Recall by method: of cold items among cold and among all items; of warm items without and with the cold ones."""

    seed: int
    n_hidden: int
    n_users: int  # with held-out interactions on hidden items
    n_wanted: int  # these interactions
    among_cold: dict[str, float]
    among_all: dict[str, float]
    warm_alone: float
    warm_beside_cold: float


def targets(data: PreparedData, hidden: Array) -> tuple[Target, Target]:
    """The held-out interactions with the hidden items, and with the others, of users who have a visible past."""
    users, _ = visible_past(data, hidden)
    active = np.bincount(users, minlength=len(data.user_ids)) > 0
    warm = np.setdiff1d(np.arange(data.n_items), hidden)
    return Target(data, hidden, active), Target(data, warm, active)


def measure_offline(data: PreparedData, hidden: Array, seed: int, without: Path, full: Path) -> OfflineResult:
    """Compare the bundle trained without the hidden items with baselines, and with the one trained on all."""
    rng = np.random.default_rng(seed)
    everything, warm = np.arange(data.n_items), np.setdiff1d(np.arange(data.n_items), hidden)
    cold_target, warm_target = targets(data, hidden)
    model = bundle_scores(open_bundle(without), data)
    scores = {
        MODEL: model,
        CONTENT: content_scores(data, hidden),
        POPULAR: popular_scores(data, hidden, rng),
        RANDOM: random_scores(data, rng),
        TRAINED: bundle_scores(open_bundle(full), data),
    }
    return OfflineResult(
        seed=seed,
        n_hidden=len(hidden),
        n_users=len(cold_target.users),
        n_wanted=cold_target.n_wanted,
        among_cold={name: cold_target.recall(found, hidden) for name, found in scores.items()},
        among_all={name: cold_target.recall(found, everything) for name, found in scores.items()},
        warm_alone=warm_target.recall(model, warm),
        warm_beside_cold=warm_target.recall(model, everything),
    )
