import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.auto_tune import BELOW_FLOOR, SLOWER, Measured, measured, tune

VALUES = (4, 8, 16, 32, 64)


def by_value(recalls: dict[int, float], asked: list[int] | None = None):
    """What a search by each value measures; it takes as many ms as the value says."""

    def measure(value: int) -> Measured:
        if asked is not None:
            asked.append(value)
        return Measured(recalls[value], recalls[value], float(value))

    return measure


RISING = {4: 0.5, 8: 0.9, 16: 0.98, 32: 0.991, 64: 1.0}


def test_the_least_value_with_enough_recall_is_found():
    assert tune(VALUES, by_value(RISING), 0.99, np.inf).settings == 32
    assert tune(VALUES, by_value(RISING), 0.5, np.inf).settings == 4
    assert tune(VALUES, by_value(RISING), 1.0, np.inf).settings == 64


def test_it_is_found_with_few_measurements():
    values, asked = tuple(range(1, 101)), []
    found = tune(values, by_value({value: value / 100 for value in values}, asked), 0.7, np.inf)
    assert (found.settings, found.fault) == (70, "")
    assert len(asked) <= 9


def test_a_kind_without_enough_recall_is_told_by_its_largest_value():
    found = tune(VALUES, by_value(RISING | {64: 0.989, 32: 0.98}), 0.99, np.inf)
    assert (found.settings, found.fault, found.measured.recall) == (64, BELOW_FLOOR, 0.989)


def test_a_kind_whose_fastest_search_is_too_slow_is_given_up_at_once():
    asked: list[int] = []
    assert tune(VALUES, by_value(RISING, asked), 0.99, 3.9).fault == SLOWER
    assert asked == [4]


def test_a_value_with_enough_recall_may_be_too_slow():
    found = tune(VALUES, by_value(RISING), 0.99, 31)
    assert (found.settings, found.fault) == (32, SLOWER)


def test_a_kind_without_a_setting_is_measured_once():
    asked: list[int] = []
    assert tune((0,), by_value({0: 0.5}, asked), 0.99, np.inf).fault == BELOW_FLOOR
    assert asked == [0]


@given(recalls=st.lists(st.floats(0, 1), min_size=1, max_size=12), floor=st.floats(0.01, 1), most_ms=st.floats(0.5, 20))
def test_what_is_found_was_itself_measured_to_reach_the_floor_in_time(recalls, floor, most_ms):
    measure = by_value(dict(enumerate(recalls, start=1)))
    found = tune(range(1, len(recalls) + 1), measure, floor, most_ms)
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
    found = measured(np.ones(3), np.array([0.002, 0.001, 5.0]))
    assert found.ms == 2.0
