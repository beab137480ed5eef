"""Evaluates a model on a held-out split: accuracy alone after each epoch, all figures at the end."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

from trainer.config import RunConfig
from trainer.data import Dataset, Interactions
from trainer.exposure import cold_items, coverage, exposure_counts, gini, long_tail_items, novelty
from trainer.expressiveness import FIGURES, expressiveness
from trainer.features import forget_pages
from trainer.graph import interaction_matrix
from trainer.models import RecommenderModel
from trainer.models.base import inner_products
from trainer.parallel import WHOLE, Share, all_agree, gathered, sum_over_ranks
from trainer.ranking_metrics import Truth, hits, per_user_metrics, rank_items, ranking_metrics, slice_metrics
from trainer.statistics import bootstrap_means, percentile_interval

Array = np.ndarray[Any, np.dtype[Any]]
HeldOut = Literal["valid", "test"]

ACCURACY = ("recall", "ndcg", "precision", "map", "mrr", "hit")
SLICED = tuple(f"{name}/{metric}" for name in ("cold", "tail") for metric in ("recall", "ndcg"))
PER_USER = (*ACCURACY, "novelty", *SLICED)
METRICS = (*PER_USER, "coverage", "gini")
"""Measured at every list length."""


@dataclass(frozen=True)
class Evaluation:
    """All figures of one model on one split."""

    figures: dict[str, float] = field(default_factory=dict)
    """`recall@20`, `cold/ndcg@10`, `coverage@20` ...; what cannot be measured has none."""
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    """Bounds of the bootstrap interval of every figure that is a mean over users."""
    users: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """(m,) user rows measured."""
    per_user: dict[str, Array] = field(default_factory=dict)
    """Each (m,), NaN where a user has no value."""

    def table(self) -> pl.DataFrame:
        """One row a user: user_row and float32 metrics, null where a user has no value."""
        metrics = {name: values.astype(np.float32) for name, values in self.per_user.items()}
        return pl.DataFrame({"user_row": self.users, **metrics}, nan_to_null=True)


def list_lengths(config: RunConfig) -> tuple[int, ...]:
    """All list lengths to evaluate: those of the settings and that of the metric that chooses the epoch; ascending."""
    return tuple(sorted({*config.evaluation.ks, int(config.training.metric.partition("@")[2])}))


def per_user_names(config: RunConfig) -> list[str]:
    """Names of the figures that are means over users, and so have intervals and can be tested."""
    return [f"{metric}@{k}" for metric in PER_USER for k in list_lengths(config)]


def figure_names(config: RunConfig) -> list[str]:
    """Names of all figures that `Evaluator.evaluate` finds; an empty slice, or a missing feature, has none."""
    return [
        *per_user_names(config),
        *(f"{metric}@{k}" for metric in ("coverage", "gini") for k in list_lengths(config)),
        *FIGURES,
    ]


class Evaluator:
    """Full ranking with one forward pass a call; training items, and on demand validation items, are masked.

    Of a dataset of one rank of several, each rank ranks for its own users, all call, and all get the figures of all.

    `ks` are list lengths in place of those of the configuration.
    """

    def __init__(self, dataset: Dataset, config: RunConfig, ks: tuple[int, ...] = ()) -> None:
        self._n_users, self._n_items = dataset.n_users, dataset.n_items
        self._settings, self._seed = config.evaluation, config.seed
        self._features, self._embeds = dataset.features, config.model.embeds
        self._ks = tuple(sorted(set(ks))) or list_lengths(config)
        self._share = Share(dataset.rank, dataset.n_ranks)
        self._pairs: dict[HeldOut, Interactions] = {name: dataset.split(name) for name in ("valid", "test")}
        if most := config.evaluation.most_users:
            self._pairs |= {
                name: of_some_users(pairs, most, self._seed, self._share) for name, pairs in self._pairs.items()
            }
        self._seen = {"train": _seen(dataset, dataset.split("train"))}
        self._seen |= {name: _seen(dataset, pairs) for name, pairs in self._pairs.items()}
        counts = np.bincount(self._seen["train"].indices, minlength=self._n_items)
        self._counts: Array = sum_over_ranks(self._share, torch.from_numpy(counts)).numpy()
        self._measured = {name: not all_agree(self._share, not len(pairs)) for name, pairs in self._pairs.items()}

    def measures(self, split: HeldOut) -> bool:
        """Whether anything is held out for the split; without it there is nothing to measure."""
        return self._measured[split]

    def accuracy(self, model: RecommenderModel, split: HeldOut, *, served: bool = False) -> dict[str, float]:
        """The accuracy metrics at each list length, which choose the best epoch; {} where nothing is held out.

        `served` measures what a bundle of the model answers, where that is less than the model.
        """
        return ranking_metrics(*self._rank(model, split, served), self._ks) if self.measures(split) else {}

    def evaluate(self, model: RecommenderModel, split: HeldOut) -> Evaluation:
        """All figures, with bootstrap intervals of means over users; no figures where nothing is held out."""
        if not self.measures(split):
            return Evaluation(per_user={f"{metric}@{k}": np.empty(0) for metric in PER_USER for k in self._ks})
        ranked, truth = self._rank(model, split)
        per_user = self._per_user(ranked, truth)
        figures = {name: float(values[known].mean()) for name, values, known in _known(per_user)}
        bounds = self._intervals({name: per_user[name] for name in figures})
        for k in self._ks:
            exposure = exposure_counts(ranked, k, self._n_items)
            figures |= {f"coverage@{k}": coverage(exposure), f"gini@{k}": gini(exposure)}
        return Evaluation(figures | self._expressiveness(model), *bounds, truth.users, per_user)

    def _rank(self, model: RecommenderModel, split: HeldOut, served: bool = False) -> tuple[Array, Truth]:
        masked = self._seen["train"]
        if split == "test" and self._settings.mask_valid_at_test:
            masked = (masked + self._seen["valid"]).tocsr()
        truth = Truth.of(self._pairs[split].user_rows, self._pairs[split].item_rows, self._n_items)
        model.eval()
        with torch.no_grad():
            score = inner_products(*model.embeddings()) if served else model.scorer()
            ranked = rank_items(score, masked, truth.users, self._ks[-1])
        return _of_all_ranks(self._share, ranked, truth)

    def _expressiveness(self, model: RecommenderModel) -> dict[str, float]:
        if not (self._embeds and self._share.is_first):
            return {}
        with torch.no_grad():
            parts = {name: part.cpu().numpy() for name, part in model.item_parts().items()}
        for features in self._features.values():
            forget_pages(features)  # the model may have read all of them, and few are needed
        return expressiveness(parts, self._features, self._seed)

    def _per_user(self, ranked: Array, truth: Truth) -> dict[str, Array]:
        slices = {
            "cold": cold_items(self._counts, self._settings.cold_at_most),
            "tail": long_tail_items(self._counts, self._settings.tail_share),
        }
        values = per_user_metrics(hits(ranked, truth), truth.counts, self._ks)
        values |= novelty(ranked, self._counts, self._n_users, self._ks)
        for name, chosen in slices.items():
            restricted = slice_metrics(ranked, truth, chosen, self._ks)
            values |= {f"{name}/{metric}": value for metric, value in restricted.items()}
        return values

    def _intervals(self, per_user: dict[str, Array]) -> tuple[dict[str, float], dict[str, float]]:
        if not (self._settings.bootstrap and per_user):
            return {}, {}
        table = np.stack(list(per_user.values()), axis=1)  # (m, number of metrics)
        samples = bootstrap_means(table, self._settings.bootstrap, np.random.default_rng(self._seed))
        bounds = percentile_interval(samples, self._settings.confidence)
        low, high = (dict(zip(per_user, map(float, bound), strict=True)) for bound in bounds)
        return low, high


def _seen(dataset: Dataset, pairs: Interactions) -> sp.csr_matrix:
    """(n_users, n_items) of truth values, which take a byte each."""
    return interaction_matrix(pairs.user_rows, pairs.item_rows, dataset.n_users, dataset.n_items).astype(np.bool_)


def _of_all_ranks(share: Share, ranked: Array, truth: Truth) -> tuple[Array, Truth]:
    """The lists and the truth of all ranks' users, in the order of their rows."""
    if share.n_ranks == 1:
        return ranked, truth
    lists, users, items = zip(*gathered(share, (ranked, truth.users, truth.items)), strict=True)
    order = np.argsort(np.concatenate(users))
    whole = Truth(np.concatenate(users)[order], sp.vstack(items, format="csr")[order])
    return np.concatenate(lists)[order], whole


def of_some_users(pairs: Interactions, most: int, seed: int, share: Share = WHOLE) -> Interactions:
    """The interactions of at most so many users, of all ranks together, drawn by the seed; all where there are no more.

    A rank gets those of its own users.
    """
    users = np.unique(np.concatenate(gathered(share, np.unique(pairs.user_rows))))
    if len(users) <= most:
        return pairs
    return pairs.where(np.isin(pairs.user_rows, np.random.default_rng(seed).choice(users, most, replace=False)))


def _known(per_user: dict[str, Array]) -> list[tuple[str, Array, Array]]:
    """The metrics with a value for at least one user, and the mask of users with a value."""
    masks = ((name, values, ~np.isnan(values)) for name, values in per_user.items())
    return [entry for entry in masks if entry[2].any()]
