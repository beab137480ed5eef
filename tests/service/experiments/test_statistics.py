"""Intervals and p-values of experiments agree with independent formulas, and keep their promise at daily looks."""

import math
from dataclasses import astuple
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.experiments.looks import Looks, look_daily
from benchmarks.experiments.traffic import Traffic
from service.events.arm_totals import ArmTotals
from service.experiments.statistics import (
    ALPHA,
    METRICS,
    MIN_EFFECTIVE_SAMPLE,
    MIN_USERS,
    Metric,
    analyse,
    arm_metric,
    compare,
    estimate,
)


def totals_of(shown: np.ndarray, clicks: np.ndarray, conversions: np.ndarray, revenue: np.ndarray) -> ArmTotals:
    """Of users, one an element."""
    return ArmTotals(
        users=len(shown),
        shown=float(shown.sum()),
        clicks=float(clicks.sum()),
        converters=float((conversions > 0).sum()),
        conversions=float(conversions.sum()),
        revenue=float(revenue.sum()),
        shown_squared=float(shown @ shown),
        clicks_squared=float(clicks @ clicks),
        shown_clicks=float(shown @ clicks),
        revenue_squared=float(revenue @ revenue),
    )


def converting(converters: int, users: int) -> ArmTotals:
    return ArmTotals(users=users, converters=float(converters))


def drawn_users(seed: int, n: int = 500) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shown = 10 * (1 + rng.poisson(2.0, n))
    clicks = rng.binomial(shown, rng.beta(2, 8, n))
    conversions = rng.binomial(2, 0.3, n)
    return [shown, clicks, conversions, conversions * rng.lognormal(2.0, 0.5, n)]


@st.composite
def any_totals(draw: st.DrawFn) -> ArmTotals:
    users = draw(st.integers(MIN_USERS, 20_000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shown = rng.integers(1, 40, users)
    clicks = rng.binomial(shown, draw(st.floats(0.05, 0.9)))
    conversions = rng.binomial(3, draw(st.floats(0.2, 0.9)), users)
    return totals_of(shown, clicks, conversions, conversions * rng.lognormal(0.0, draw(st.floats(0.0, 0.7)), users))


metrics = st.sampled_from(METRICS)
lifts = st.floats(1e-6, 10.0)


def test_the_variance_of_click_through_is_that_of_the_linearised_residuals() -> None:
    shown, clicks, *_ = users = drawn_users(1)
    found = estimate(totals_of(*users), "click_through")
    assert found is not None
    residuals = clicks - found.value * shown
    assert found.value == clicks.sum() / shown.sum()
    assert found.variance == pytest.approx(residuals.var(ddof=1) / len(shown) / shown.mean() ** 2)


def test_the_variance_of_click_through_is_that_of_resampled_users() -> None:
    shown, clicks, *_ = users = drawn_users(2)
    found = estimate(totals_of(*users), "click_through")
    rows = np.random.default_rng(0).integers(0, len(shown), (2000, len(shown)))
    resampled = clicks[rows].sum(axis=1) / shown[rows].sum(axis=1)
    assert found is not None
    assert found.variance == pytest.approx(resampled.var(), rel=0.1)


def test_the_variance_of_revenue_is_that_of_a_mean() -> None:
    *_, revenue = users = drawn_users(3)
    found = estimate(totals_of(*users), "revenue")
    assert found is not None
    assert (found.value, found.variance) == pytest.approx((revenue.mean(), revenue.var(ddof=1) / len(revenue)))


def test_the_variance_of_conversion_is_the_binomial_one() -> None:
    found = estimate(converting(20, 101), "conversion")
    assert found is not None
    assert found.variance == pytest.approx((20 / 101) * (81 / 101) / 100)


def test_the_p_value_is_that_of_the_mixture_integrated_numerically() -> None:
    control, treatment = converting(1000, 10_000), converting(1100, 10_000)
    found = compare("t", control, treatment, "conversion", expected_lift=0.1)
    v, tau = 0.9 / 0.1 / 9999 + 0.89 / 0.11 / 9999, math.log(1.1)
    effect = np.linspace(-1, 1, 200_001)
    likelihood_ratio = np.exp((math.log(1.1) * effect - effect**2 / 2) / v)
    prior = np.exp(-(effect**2) / (2 * tau**2)) / (tau * math.sqrt(2 * math.pi))
    assert found.p_value == pytest.approx(1 / np.trapezoid(likelihood_ratio * prior, effect))


def test_the_interval_is_the_normal_mixture_of_asymptotic_confidence_sequences() -> None:
    found = arm_metric("a", converting(400, 2000), "conversion", expected_lift=0.1)
    t = 1999 * 0.2 / 0.8  # observations of variance 1 that give the logarithm as well
    rho = math.log(1.1)
    margin = math.sqrt(2 * (t * rho**2 + 1) / (t * rho) ** 2 * math.log(math.sqrt(t * rho**2 + 1) / ALPHA))
    assert found.interval == pytest.approx((0.2 * math.exp(-margin), 0.2 * math.exp(margin)))


@given(any_totals(), any_totals(), metrics, lifts)
def test_swapping_the_arms_inverts_the_lift_and_leaves_the_p_value(
    a: ArmTotals, b: ArmTotals, metric: Metric, lift: float
) -> None:
    one, other = (compare("arm", *pair, metric, expected_lift=lift) for pair in ((a, b), (b, a)))
    assert one.p_value == other.p_value or one.p_value == pytest.approx(other.p_value)
    if one.interval and other.interval and one.lift is not None and other.lift is not None:
        assert (1 + one.lift) * (1 + other.lift) == pytest.approx(1)
        assert (1 + one.interval.low) * (1 + other.interval.high) == pytest.approx(1)


@given(any_totals(), any_totals(), metrics, lifts)
def test_an_interval_has_the_estimate_in_it_and_leaves_0_out_exactly_when_the_p_value_is_below_alpha(
    a: ArmTotals, b: ArmTotals, metric: Metric, lift: float
) -> None:
    found = compare("arm", a, b, metric, expected_lift=lift, n_comparisons=3)
    if found.interval and found.p_value is not None and found.lift is not None:
        low, high = found.interval
        assert low <= found.lift <= high
        assert 0 <= found.p_value <= 1
        assert (low > 0 or high < 0) == (found.p_value < ALPHA)


@given(any_totals(), metrics, lifts)
def test_an_arm_has_its_value_in_its_interval(totals: ArmTotals, metric: Metric, lift: float) -> None:
    found = arm_metric("arm", totals, metric, expected_lift=lift)
    if found.interval and found.value is not None:
        assert 0 < found.interval.low <= found.value <= found.interval.high


def test_totals_of_two_parts_of_the_users_add_up_to_those_of_all() -> None:
    users = drawn_users(6)
    parts = [totals_of(*(of[half] for of in users)) for half in (slice(200), slice(200, None))]
    assert astuple(parts[0].plus(parts[1])) == pytest.approx(astuple(totals_of(*users)))


def test_of_several_arms_each_needs_a_smaller_p_value() -> None:
    control, treatment = converting(1000, 10_000), converting(1150, 10_000)
    alone = compare("t", control, treatment, "conversion", expected_lift=0.1)
    one_of_four = compare("t", control, treatment, "conversion", expected_lift=0.1, n_comparisons=4)
    assert alone.p_value is not None
    assert alone.interval is not None
    assert one_of_four.interval is not None
    assert one_of_four.p_value == pytest.approx(4 * alone.p_value)
    assert one_of_four.interval.low < 0 < alone.interval.low


def test_a_better_and_a_worse_arm_are_named_with_their_lifts() -> None:
    arms = {"control": converting(1000, 10_000), "up": converting(1300, 10_000), "down": converting(700, 10_000)}
    up, down = analyse(arms, "conversion", expected_lift=0.1).decision.split("; ")
    assert up.startswith("up is better: conversion +30.0% (+")
    assert down.startswith("down is worse: conversion -30.0% (-")


def test_a_small_difference_is_not_shown_yet() -> None:
    arms = {"control": converting(1000, 10_000), "same": converting(1010, 10_000)}
    found = analyse(arms, "conversion", expected_lift=0.1)
    assert found.comparisons[0].verdict is None
    assert found.decision.startswith("same: no difference shown yet: conversion +1.0% (-")


def test_an_experiment_of_control_alone_has_nothing_to_compare() -> None:
    assert analyse({"main": converting(100, 200)}, "conversion", expected_lift=0.1).decision == "no arm beside main"


@pytest.mark.parametrize(
    ("control", "treatment", "said"),
    [
        (ArmTotals(), converting(500, 1000), "main has 0 users, 100 are needed"),
        (converting(500, 1000), converting(50, 99), "new has 99 users, 100 are needed"),
        (
            converting(500, 1000),
            converting(0, 1000),
            "conversion of new has an effective sample of 0 users, ",
        ),
        (
            converting(29, 1000),
            converting(500, 1000),
            "conversion of main has an effective sample of 29 users, ",
        ),
        (converting(1000, 1000), converting(1000, 1000), "all users did the same"),
    ],
)
def test_with_too_little_data_the_result_says_what_is_missing(
    control: ArmTotals, treatment: ArmTotals, said: str
) -> None:
    found = analyse({"main": control, "new": treatment}, "conversion", expected_lift=0.1)
    assert found.decision.startswith(f"new: too little data: {said}")
    assert (found.comparisons[0].p_value, found.comparisons[0].interval) == (None, None)


@pytest.mark.parametrize("metric", ["click_through", "revenue"])
def test_a_user_who_outweighs_the_others_leaves_too_little_data(metric: Metric) -> None:
    shown, clicks, conversions, revenue = drawn_users(4)
    shown[0], clicks[0], revenue[0] = 100_000, 50_000, 1e6
    whale = totals_of(shown, clicks, conversions, revenue)
    found = compare("new", totals_of(*drawn_users(5)), whale, metric, expected_lift=0.1)
    assert found.too_little == f"{metric} of new has an effective sample of 1 users, {MIN_EFFECTIVE_SAMPLE} are needed"


@cache
def daily_looks() -> list[Looks]:
    """200 experiments without a difference, in which a lift of half is expected: small ones are looked at hardest."""
    traffic = Traffic(users=1000, days=15, weights=(0.6, 0.4))
    return [look_daily(traffic, np.random.default_rng([7, run]), expected_lift=0.5) for run in range(200)]


MOST = 0.05 + 1.64 * math.sqrt(0.05 * 0.95 / 200)  # binomial


def test_looked_at_daily_a_metric_raises_false_alarms_in_5_percent_where_a_test_for_one_look_has_far_more() -> None:
    found = [looks.metrics["click_through"] for looks in daily_looks()]
    assert np.mean([each.day is not None for each in found]) <= MOST
    assert np.mean([each.one_look for each in found]) > 3 * MOST


def test_looked_at_daily_the_sample_ratio_keeps_5_percent_where_a_test_for_one_look_has_far_more() -> None:
    assert np.mean([looks.ratio_below_alpha for looks in daily_looks()]) <= MOST
    assert np.mean([looks.one_look_ratio for looks in daily_looks()]) > 2 * MOST
