"""Intervals and tests: by hand, against scipy, and the laws that they must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trainer.statistics import bootstrap_means, holm, paired_test, percentile_interval

seeds = st.integers(0, 10**6)


def interval(values, n_resamples=400, seed=0):
    samples = bootstrap_means(values[:, None], n_resamples, np.random.default_rng(seed))
    return percentile_interval(samples, 0.95)[:, 0]


def test_resamples_of_one_seed_are_the_same_and_of_another_are_not():
    values = np.random.default_rng(0).random((30, 2))
    one, two, other = (bootstrap_means(values, 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_resampling_in_blocks_equals_resampling_at_once(monkeypatch):
    values = np.random.default_rng(0).random((30, 2))
    at_once = bootstrap_means(values, 50, np.random.default_rng(1))
    monkeypatch.setattr("trainer.statistics._DRAWS_AT_ONCE", 100)
    np.testing.assert_allclose(bootstrap_means(values, 50, np.random.default_rng(1)), at_once, rtol=1e-12)


def test_columns_share_their_draws():
    values = np.random.default_rng(0).random((30, 1))
    samples = bootstrap_means(np.hstack([values, 2 * values]), 50, np.random.default_rng(1))
    np.testing.assert_allclose(samples[:, 1], 2 * samples[:, 0])


def test_users_without_a_value_count_in_neither_sum_nor_number():
    values = np.array([[3.0, 1.0], [np.nan, 1.0], [3.0, 1.0]])
    samples = bootstrap_means(values, 200, np.random.default_rng(0))
    assert set(samples[~np.isnan(samples[:, 0]), 0]) == {3.0}
    assert np.isnan(samples[:, 0]).any()  # now and then only the user without a value is drawn
    np.testing.assert_array_equal(percentile_interval(samples, 0.95), [[3, 1], [3, 1]])


def test_without_users_there_is_no_mean():
    assert np.isnan(bootstrap_means(np.empty((0, 2)), 5, np.random.default_rng(0))).all()


@given(seed=seeds)
def test_the_interval_holds_the_mean_and_a_wider_confidence_holds_a_narrower(seed):
    values = np.random.default_rng(seed).random(60)
    samples = bootstrap_means(values[:, None], 400, np.random.default_rng(seed))
    (low, high), (lower, higher) = (percentile_interval(samples, confidence)[:, 0] for confidence in (0.8, 0.99))
    assert lower <= low <= values.mean() <= high <= higher


@given(seed=seeds)
def test_the_interval_shrinks_with_the_root_of_the_number_of_users(seed):
    rng = np.random.default_rng(seed)
    few, many = (np.ptp(interval(rng.permutation(np.arange(n) % 2.0))) for n in (100, 1600))
    assert many == pytest.approx(few / 4, rel=0.35)


def test_the_interval_is_the_one_that_scipy_finds():
    values = np.random.default_rng(3).exponential(size=200)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    np.testing.assert_allclose(interval(values, 4000), theirs.confidence_interval, atol=0.012)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    bounds = [interval(rng.random(80), 200, seed) for seed in range(300)]
    assert np.mean([low <= 0.5 <= high for low, high in bounds]) == pytest.approx(0.95, abs=0.03)


def compared(ours, theirs, seed=0):
    rng = np.random.default_rng(seed)
    return paired_test(np.array(ours), np.array(theirs), n_resamples=999, confidence=0.95, rng=rng)


def test_a_paired_test_by_hand():
    test = compared([0.5, 0.9, 0.4, 0.8], [0.4, 0.6, 0.5, 0.7])
    gaps = np.array([0.1, 0.3, -0.1, 0.1])
    assert test.n_users == 4
    assert test.difference == pytest.approx(0.1)
    assert test.effect_size == pytest.approx(0.1 / gaps.std(ddof=1))
    assert test.p_t == pytest.approx(2 * stats.t.sf(0.1 / (gaps.std(ddof=1) / 2), df=3))
    assert test.low <= 0.1 <= test.high


def test_the_p_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(100), rng.random(100)
    test = compared(ours, theirs)
    assert test.p_t == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert test.p_wilcoxon == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
    assert test.p_bootstrap == pytest.approx(test.p_t, abs=0.05)


@given(seed=seeds)
def test_turned_around_a_test_says_the_opposite_with_equal_confidence(seed):
    rng = np.random.default_rng(seed)
    ours, theirs = rng.random(40), rng.random(40)
    one, two = compared(ours, theirs), compared(theirs, ours)
    assert (two.difference, two.effect_size) == (pytest.approx(-one.difference), pytest.approx(-one.effect_size))
    assert (two.low, two.high) == (pytest.approx(-one.high), pytest.approx(-one.low))
    assert [two.p_t, two.p_wilcoxon] == pytest.approx([one.p_t, one.p_wilcoxon])


def test_equal_models_differ_by_nothing():
    test = compared([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (test.difference, test.effect_size) == (0, 0)
    assert (test.p_t, test.p_wilcoxon, test.p_bootstrap) == (1, 1, 1)


def test_users_without_a_value_on_either_side_are_left_out():
    full = compared([0.1, 0.9, 0.5], [0.2, 0.3, 0.1])
    assert compared([np.nan, 0.1, 0.9, 0.5, 0.4], [0.5, 0.2, 0.3, 0.1, np.nan]) == full


def test_a_difference_beyond_doubt_has_small_p_values_and_chance_has_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 500))
    sure, chance = compared(noise[0] + 1, noise[1]), compared(noise[0], noise[1])
    assert max(sure.p_t, sure.p_wilcoxon, sure.p_bootstrap) <= 0.001
    assert min(chance.p_t, chance.p_wilcoxon, chance.p_bootstrap) > 0.05


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(p_values=st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_never_lowers_and_never_exceeds_bonferroni(p_values):
    adjusted = np.array(holm(p_values))
    p = np.array(p_values)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * len(p), 1) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
