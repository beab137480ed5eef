"""Uncertainty over users: bootstrap intervals, and paired tests of one model against another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_DRAWS_AT_ONCE = 4_000_000
"""Entries of the resample x user count matrix held at a time (32 MB)."""


def bootstrap_means(values: Array, n_resamples: int, rng: np.random.Generator) -> Array:
    """Column means over users drawn with replacement.

    Args:
        values: (m, c), a row a user; NaN where a user has no value, which then counts in neither sum nor number.
        n_resamples: number of resamples.
        rng: where the draws come from; all columns share them.

    Returns:
        (n_resamples, c); NaN where a resample holds no user with a value.
    """
    m = len(values)
    if m == 0:
        return np.full((n_resamples, values.shape[1]), np.nan)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    step = max(_DRAWS_AT_ONCE // m, 1)
    sizes = [min(step, n_resamples - start) for start in range(0, n_resamples, step)]
    blocks = [_means_of_draws(filled, known.astype(np.float64), size, rng) for size in sizes]
    return np.concatenate(blocks) if blocks else np.empty((0, values.shape[1]))


def _means_of_draws(filled: Array, known: Array, size: int, rng: np.random.Generator) -> Array:
    m = len(filled)
    drawn = rng.integers(0, m, size=(size, m)) + m * np.arange(size)[:, None]
    weights = np.bincount(drawn.ravel(), minlength=size * m).reshape(size, m).astype(np.float64)  # (size, m)
    sums, numbers = weights @ filled, weights @ known  # (size, c)
    return np.divide(sums, numbers, out=np.full_like(sums, np.nan), where=numbers > 0)


def percentile_interval(samples: Array, confidence: float) -> Array:
    """(2, c) lower and upper percentile bounds of the columns of `samples` (b, c); NaN samples are left out."""
    tail = (1 - confidence) / 2
    bounds: Array = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    return bounds


@dataclass(frozen=True)
class PairedTest:
    """One model's per-user values against another's on the same users."""

    n_users: int
    difference: float
    """Mean of ours - theirs."""
    low: float
    high: float
    """Percentile bootstrap interval of the difference."""
    effect_size: float
    """Cohen's d_z: the mean difference in standard deviations of the differences."""
    p_t: float
    """Paired t-test."""
    p_wilcoxon: float
    """Wilcoxon signed-rank test; users without a difference are left out."""
    p_bootstrap: float
    """Share of bootstrap means, moved to a difference of 0, that lie as far from 0 as the one observed."""


def paired_test(
    ours: Array, theirs: Array, *, n_resamples: int, confidence: float, rng: np.random.Generator
) -> PairedTest:
    """Compare two models user by user, two-sided.

    Args:
        ours: (m,) a value a user.
        theirs: (m,) of the same users in the same order; users with NaN on either side are left out.
        n_resamples: resamples of the bootstrap; at least 1.
        confidence: of the interval, e.g. 0.95.
        rng: randomness of the bootstrap.
    """
    from scipy import stats  # noqa: PLC0415 - half a second that only a comparison needs

    gaps = (ours - theirs)[~np.isnan(ours - theirs)]
    if len(gaps) < 2 or not gaps.any():
        mean = float(gaps.mean()) if len(gaps) else 0.0
        return PairedTest(len(gaps), mean, mean, mean, 0.0, 1.0, 1.0, 1.0)
    mean, deviation = float(gaps.mean()), float(gaps.std(ddof=1))
    means = bootstrap_means(gaps[:, None], n_resamples, rng)  # (n_resamples, 1)
    low, high = percentile_interval(means, confidence)[:, 0]
    as_far = np.count_nonzero(np.abs(means - mean) >= abs(mean))
    return PairedTest(
        n_users=len(gaps),
        difference=mean,
        low=float(low),
        high=float(high),
        effect_size=mean / deviation if deviation else float(np.copysign(np.inf, mean)),
        p_t=float(stats.ttest_1samp(gaps, 0.0).pvalue) if deviation else 0.0,
        p_wilcoxon=float(stats.wilcoxon(gaps).pvalue),
        p_bootstrap=(as_far + 1) / (n_resamples + 1),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the smallest of n is multiplied by n, the next by n - 1 ..., never falling, <= 1."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return [float(value) for value in adjusted]
