from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.auto.tune import BELOW_FLOOR, SLOWER, Measured, measured, tune

RISING = {4: 0.5, 8: 0.9, 16: 0.98, 32: 0.991, 64: 1.0}
TRIES = [{"nprobe": value} for value in RISING]


def by_value(recalls: dict[int, float], asked: list[int] | None = None):
    """What a search measures: the recall of the largest known nprobe up to its own, and as many ms as nprobe says."""

    def measure(settings: Mapping[str, int]) -> Measured:
        nprobe = settings["nprobe"]
        if asked is not None:
            asked.append(nprobe)
        recall = recalls[max(value for value in recalls if value <= nprobe)]
        return Measured(recall, recall, float(nprobe))

    return measure


@pytest.mark.parametrize(("floor", "expected"), [(0.99, 32), (0.5, 4), (1.0, 64)])
def test_the_least_try_with_enough_recall_is_found(floor, expected):
    assert tune(TRIES, by_value(RISING), floor, np.inf).settings == {"nprobe": expected}


def test_what_lies_between_two_tries_is_found_nearly():
    found = tune(TRIES, by_value(RISING | {24: 0.995}), 0.99, np.inf)
    assert 24 <= found.settings["nprobe"] <= 1.2 * 24
    pairs = [{"nprobe": 4, "rerank": 2}, {"nprobe": 4, "rerank": 64}]
    assert tune(pairs, lambda s: Measured(s["rerank"] / 64, s["rerank"] / 64, 1), 0.2, np.inf).settings == {
        "nprobe": 4,
        "rerank": 27,
    }


def test_it_is_found_with_few_measurements():
    asked: list[int] = []
    tries = [{"nprobe": value} for value in range(1, 101)]
    found = tune(tries, by_value({value: value / 100 for value in range(1, 101)}, asked), 0.7, np.inf)
    assert (found.settings, found.fault) == ({"nprobe": 70}, "")
    assert len(asked) <= 9


def test_a_kind_without_enough_recall_is_told_by_its_largest_try():
    found = tune(TRIES, by_value(RISING | {64: 0.989, 32: 0.98}), 0.99, np.inf)
    assert (found.settings, found.fault, found.measured.recall) == ({"nprobe": 64}, BELOW_FLOOR, 0.989)


def test_a_kind_whose_fastest_search_is_too_slow_is_given_up_at_once():
    asked: list[int] = []
    assert tune(TRIES, by_value(RISING, asked), 0.99, 3.9).fault == SLOWER
    assert asked == [4]


def test_a_try_with_enough_recall_may_be_too_slow():
    found = tune(TRIES, by_value(RISING), 0.99, 31)
    assert (found.settings, found.fault) == ({"nprobe": 32}, SLOWER)


def test_a_kind_without_a_setting_is_measured_once():
    asked: list[Mapping[str, int]] = []

    def measure(settings: Mapping[str, int]) -> Measured:
        asked.append(settings)
        return Measured(0.5, 0.5, 1)

    assert tune([{}], measure, 0.99, np.inf).fault == BELOW_FLOOR
    assert asked == [{}]


@given(
    recalls=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    floor=st.floats(0.01, 1),
    most_ms=st.floats(0.5, 3_000),
)
def test_what_is_found_was_itself_measured_to_reach_the_floor_in_time(recalls, floor, most_ms):
    known = {2**i: recall for i, recall in enumerate(recalls)}
    measure = by_value(known)
    found = tune([{"nprobe": value} for value in known], measure, floor, most_ms)
    assert found.measured == measure(found.settings)
    if not found.fault:
        assert found.measured.assured >= floor
        assert found.measured.ms <= most_ms


def test_the_assured_recall_is_lower_the_fewer_users_and_the_more_they_differ():
    def assured(recalls: list[float]) -> float:
        return measured(np.array(recalls), np.ones(len(recalls))).assured

    assert assured([1.0] * 4) == 1.0
    assert assured([0.9, 1.0] * 50) == pytest.approx(0.95 - 1.645 * 0.05 / np.sqrt(99), abs=1e-6)
    assert assured([0.9, 1.0] * 50) > assured([0.9, 1.0] * 5) > assured([0.5, 1.0] * 5)
    assert assured([1.0]) <= 0  # one user assures nothing


def test_a_search_takes_the_median_time():
    found = measured(np.ones(3), np.array([2.0, 1.0, 5_000.0]))
    assert found.ms == 2.0
