"""Compares the arms of an experiment by intervals and p-values that hold at every look.

Each metric is a ratio of sums over users. Its logarithm has a variance by the delta method, and its difference between
two arms is tested by the mixture sequential probability ratio test with a normal mixture (Johari, Pekelis, Walsh,
"Always Valid Inference", Operations Research 70(3), 2022), with the variance estimated as in the asymptotic confidence
sequences of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas ("Time-uniform central limit theory and asymptotic
confidence sequences", Annals of Statistics 52(6), 2024): valid at any stopping time for many users, not for a handful.
On the logarithm the mixture's width is a constant of the experiment, and swapping two arms changes the sign alone.
docs/measurements/experiments.md has the false alarms, the lifts found, and how large "many" must be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from index.experiments import Metric
from service.events.arm_totals import ArmTotals

METRICS: tuple[Metric, ...] = get_args(Metric)
ALPHA = 0.05  # share of experiments without a difference that ever show one
MIN_USERS = 100  # of an arm
# `Estimate.effective_sample` of an arm. With 10, heavy-tailed revenue gives more than 5 % of false alarms; 20 give 2 %.
MIN_EFFECTIVE_SAMPLE = 30
LEAST_EXPECTED_LIFT = 0.01  # smaller ones count as this one


class Interval(NamedTuple):
    """Its ends, both in it."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A metric of one arm: clicks per impression, converters per user or revenue per user."""

    value: float
    variance: float
    # How many equal users the numerator or denominator rests on, whichever has fewer: (sum of x)² / sum of x² (Kish).
    effective_sample: float


@dataclass(frozen=True)
class ArmMetric:
    """A metric of one arm, with an interval that holds at every look.

    With too little data the interval is None, `too_little` says what is missing, and without users `value` is None too.
    """

    value: float | None
    interval: Interval | None
    too_little: str | None = None


@dataclass(frozen=True)
class Comparison:
    """An arm beside control. `lift` is relative: 0.05 is 5 % more than control; `interval` is the lift's.

    `p_value` holds at whichever look, and is below ALPHA exactly when the interval excludes 0. Both are for all
    treatment arms together (Bonferroni). With too little data they are None and `too_little` says what is missing.
    The first look that shows a difference decides: at a later one it may be hidden in the noise again.
    """

    arm: str
    difference: float | None = None
    lift: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    too_little: str | None = None

    @property
    def verdict(self) -> Literal["better", "worse"] | None:
        """What the data show of the arm so far."""
        if self.p_value is None or self.lift is None or self.p_value >= ALPHA:
            return None
        return "better" if self.lift > 0 else "worse"


@dataclass(frozen=True)
class Analysis:
    """A metric of every arm, every treatment arm beside control, and what follows, in words."""

    arms: dict[str, ArmMetric]
    comparisons: tuple[Comparison, ...]
    decision: str


def analyse(arms: Mapping[str, ArmTotals], metric: Metric, *, expected_lift: float) -> Analysis:
    """Compare all arms with the first, control, by `metric`.

    `expected_lift` (relative, > 0) is the size of difference that is found soonest; the others are found too.
    """
    (control, totals), *treatments = arms.items()
    comparisons = tuple(
        compare(arm, totals, other, metric, expected_lift=expected_lift, n_comparisons=len(treatments), control=control)
        for arm, other in treatments
    )
    return Analysis(
        {arm: arm_metric(arm, each, metric, expected_lift=expected_lift) for arm, each in arms.items()},
        comparisons,
        "; ".join(_in_words(comparison, metric) for comparison in comparisons) or f"no arm beside {control}",
    )


def estimate(totals: ArmTotals, metric: Metric) -> Estimate | None:
    """The metric's value and variance, by the delta method with the user as the unit; None for fewer than two users."""
    if metric == "click_through":
        x, y = totals.clicks, totals.shown
        xx, yy, xy = totals.clicks_squared, totals.shown_squared, totals.shown_clicks
    else:
        x, y = totals.converters if metric == "conversion" else totals.revenue, float(totals.users)
        xx, yy, xy = totals.converters if metric == "conversion" else totals.revenue_squared, y, x
    if totals.users < 2 or y <= 0:
        return None
    value = x / y
    squared_residuals = max(xx - 2 * value * xy + value**2 * yy, 0.0)  # of x - value * y, whose sum is 0
    variance = squared_residuals / y**2 * totals.users / (totals.users - 1)
    return Estimate(value, variance, min(x * x / xx if x > 0 else 0.0, y * y / yy))


def arm_metric(arm: str, totals: ArmTotals, metric: Metric, *, expected_lift: float) -> ArmMetric:
    """The metric of one arm with its own interval."""
    found = estimate(totals, metric)
    if found is None or not _is_enough(totals, found):
        return ArmMetric(found.value if found else None, None, _missing(arm, totals, found, metric))
    factor = math.exp(_margin(found.variance / found.value**2, _mixture(expected_lift), ALPHA))
    most = math.inf if metric == "revenue" else 1.0
    return ArmMetric(found.value, Interval(found.value / factor, min(found.value * factor, most)))


def compare(
    arm: str,
    totals: ArmTotals,
    treatment: ArmTotals,
    metric: Metric,
    *,
    expected_lift: float,
    n_comparisons: int = 1,
    control: str = "control",
) -> Comparison:
    """Compare `treatment`, the totals of `arm`, with those of control; one of `n_comparisons` in the experiment."""
    a, b = estimate(totals, metric), estimate(treatment, metric)
    if a is None or not _is_enough(totals, a):
        return Comparison(arm, too_little=_missing(control, totals, a, metric))
    if b is None or not _is_enough(treatment, b):
        return Comparison(arm, too_little=_missing(arm, treatment, b, metric))
    variance = a.variance / a.value**2 + b.variance / b.value**2  # of the logarithm of b / a
    if not variance:
        return Comparison(arm, b.value - a.value, b.value / a.value - 1, too_little="all users did the same")
    log_ratio, mixture = math.log(b.value / a.value), _mixture(expected_lift)
    margin = _margin(variance, mixture, ALPHA / n_comparisons)
    return Comparison(
        arm,
        difference=b.value - a.value,
        lift=b.value / a.value - 1,
        interval=Interval(math.expm1(log_ratio - margin), math.expm1(log_ratio + margin)),
        p_value=min(1.0, n_comparisons * _p_value(log_ratio, variance, mixture)),
    )


def _mixture(expected_lift: float) -> float:
    return math.log1p(max(expected_lift, LEAST_EXPECTED_LIFT)) ** 2  # τ²


def _p_value(theta: float, v: float, tau2: float) -> float:
    # 1 / Λ, where Λ is the likelihood ratio of N(0, v + τ²) to N(0, v) at the estimate θ: Johari et al. with v = σ²/n,
    # Λ = sqrt(v / (v + τ²)) exp(θ² τ² / (2 v (v + τ²))).
    return min(1.0, math.sqrt((v + tau2) / v) * math.exp(-(theta**2) * tau2 / (2 * v * (v + tau2))))


def _margin(v: float, tau2: float, alpha: float) -> float:
    # The θ at which 1 / Λ = α; the normal mixture of Waudby-Smith et al. with t ρ² = τ² / v.
    return math.sqrt(2 * v * (v + tau2) / tau2 * (0.5 * math.log((v + tau2) / v) - math.log(alpha))) if v else 0.0


def _is_enough(totals: ArmTotals, found: Estimate) -> bool:
    return totals.users >= MIN_USERS and found.effective_sample >= MIN_EFFECTIVE_SAMPLE


def _missing(arm: str, totals: ArmTotals, found: Estimate | None, metric: Metric) -> str:
    if found is None or totals.users < MIN_USERS:
        return f"{arm} has {totals.users:,} users, {MIN_USERS} are needed"
    effective = f"an effective sample of {int(found.effective_sample)} users"
    return f"{metric} of {arm} has {effective}, {MIN_EFFECTIVE_SAMPLE} are needed"


def _in_words(comparison: Comparison, metric: Metric) -> str:
    if comparison.interval is None or comparison.lift is None:
        return f"{comparison.arm}: too little data: {comparison.too_little}"
    low, high = comparison.interval
    figures = f"{metric} {comparison.lift:+.1%} ({low:+.1%} to {_upper(high)})"
    if comparison.verdict:
        return f"{comparison.arm} is {comparison.verdict}: {figures}"
    return f"{comparison.arm}: no difference shown yet: {figures}"


def _upper(lift: float) -> str:
    return f"{lift:+.1%}" if lift < 10 else "more than +1000%"
