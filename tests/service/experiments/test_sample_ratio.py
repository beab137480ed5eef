"""The check of the arms' shares agrees with an independent formula, and says what it expected and found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.experiments.sample_ratio import CONCENTRATION, sample_ratio


def p_value_user_by_user(arms: list[int], shares: list[float]) -> float:
    """Bets on each user's arm by the users before (Polya's urn); the stake's inverse, at most 1."""
    stake, found = 1.0, [0] * len(shares)
    for arm in arms:
        stake *= (CONCENTRATION * shares[arm] + found[arm]) / (CONCENTRATION + sum(found)) / shares[arm]
        found[arm] += 1
    return min(1.0, 1 / stake)


@given(st.lists(st.sampled_from([0, 0, 1, 2]), max_size=300))
def test_the_p_value_is_that_of_betting_on_each_user(arms: list[int]) -> None:
    users = {str(arm): arms.count(arm) for arm in range(3)}
    found = sample_ratio(users, {"0": 20.0, "1": 30.0, "2": 50.0})
    assert found.p_value == pytest.approx(p_value_user_by_user(arms, [0.2, 0.3, 0.5]))


def test_lost_users_raise_a_warning_that_names_both_shares() -> None:
    found = sample_ratio({"control": 52_000, "new": 48_000}, {"control": 50.0, "new": 50.0})
    assert found.p_value < 1e-10
    assert found.warning is not None
    assert "control 52.00% (expected 50.00%), new 48.00% (expected 50.00%) of 100,000 users" in found.warning


def test_shares_near_the_weights_raise_no_warning() -> None:
    assert sample_ratio({"control": 9_020, "new": 980}, {"control": 90.0, "new": 10.0}).warning is None


def test_no_users_are_no_reason_to_warn() -> None:
    assert sample_ratio({}, {"control": 90.0, "new": 10.0}) == (1.0, None)


def test_an_empty_arm_of_weight_0_is_as_expected() -> None:
    assert sample_ratio({"control": 1000, "new": 0}, {"control": 100.0, "new": 0.0}) == (1.0, None)


def test_a_user_in_an_arm_of_weight_0_raises_a_warning() -> None:
    assert sample_ratio({"control": 1000, "new": 1}, {"control": 100.0, "new": 0.0}).warning is not None
