"""The catalogue under a model's lists: coverage, Gini, novelty, and its cold and long-tail slices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.exposure import cold_items, coverage, exposure_counts, gini, long_tail_items, novelty


def test_an_item_is_cold_up_to_the_threshold_and_without_any_interaction():
    np.testing.assert_array_equal(cold_items(np.array([0, 5, 6, 90]), at_most=5), [True, True, False, False])


def test_the_long_tail_is_the_least_popular_items_that_hold_a_fifth_of_the_interactions():
    counts = np.array([50, 4, 30, 6, 0, 10])
    np.testing.assert_array_equal(long_tail_items(counts, 0.2), [False, True, False, True, True, True])
    np.testing.assert_array_equal(long_tail_items(counts, 0.19), [False, True, False, True, True, False])


def test_equally_popular_items_are_in_the_tail_together_or_not_at_all():
    counts = np.array([10, 5, 5, 80])
    np.testing.assert_array_equal(long_tail_items(counts, 0.1), [False, True, True, False])
    np.testing.assert_array_equal(long_tail_items(counts, 0.09), [False, False, False, False])


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=30), share=st.floats(0.01, 0.99))
def test_a_tail_never_holds_more_than_its_share_and_nothing_outside_is_less_popular(counts, share):
    counts = np.array(counts)
    tail = long_tail_items(counts, share)
    assert counts[tail].sum() <= share * counts.sum()
    if tail.any() and not tail.all():
        assert counts[tail].max() < counts[~tail].min()


def test_exposure_counts_lists_cut_at_k_and_skips_unfilled_places():
    ranked = np.array([[3, 0, 1], [3, 2, -1]])
    np.testing.assert_array_equal(exposure_counts(ranked, 1, 5), [0, 0, 0, 2, 0])
    np.testing.assert_array_equal(exposure_counts(ranked, 3, 5), [1, 1, 1, 2, 0])
    assert coverage(exposure_counts(ranked, 1, 5)) == pytest.approx(1 / 5)
    assert coverage(exposure_counts(ranked, 3, 5)) == pytest.approx(4 / 5)


def test_the_gini_coefficient_by_hand():
    assert gini(np.array([1, 3])) == pytest.approx(1 / 4)
    assert gini(np.array([0, 0, 4])) == pytest.approx(2 / 3)
    assert gini(np.array([0, 0])) == 0


@given(n=st.integers(1, 2000), shown=st.integers(1, 1000))
def test_gini_is_0_for_equal_exposure_and_nears_1_when_one_item_takes_all(n, shown):
    assert gini(np.full(n, shown)) == pytest.approx(0, abs=1e-9)
    assert gini(np.eye(1, n)[0] * shown) == pytest.approx(1 - 1 / n)


@given(exposure=st.lists(st.integers(0, 100), min_size=1, max_size=40))
def test_gini_is_half_the_mean_gap_of_all_pairs_relative_to_the_mean(exposure):
    exposure = np.array(exposure)
    gaps = np.abs(exposure[:, None] - exposure).mean()
    assert gini(exposure) == pytest.approx(gaps / (2 * exposure.mean()) if exposure.any() else 0, abs=1e-12)


def test_novelty_is_the_mean_information_of_a_list_in_bits():
    counts = np.array([8, 1, 0, 4])
    metrics = novelty(np.array([[0, 1], [3, -1], [-1, -1]]), counts, n_users=8, ks=(1, 2))
    np.testing.assert_allclose(metrics["novelty@1"], [0, 1, np.nan])
    np.testing.assert_allclose(metrics["novelty@2"], [(0 + 3) / 2, 1, np.nan])


def test_an_item_nobody_trained_on_is_as_novel_as_one_that_one_user_had():
    metrics = novelty(np.array([[1], [2]]), np.array([8, 1, 0]), n_users=8, ks=(1,))
    np.testing.assert_allclose(metrics["novelty@1"], [3, 3])


def test_lists_shorter_than_k_are_averaged_over_what_they_hold():
    assert novelty(np.array([[0, 1]]), np.array([2, 1]), n_users=4, ks=(50,))["novelty@50"] == pytest.approx(1.5)
