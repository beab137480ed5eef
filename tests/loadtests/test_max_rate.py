import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.max_rate import LOWEST_RATE, REPEATS, RateBracket, find_max_rate, holds

RATES = st.floats(2, 50_000)
MOST = 100_000.0


@given(max_rate=RATES, first=RATES, tolerance=st.floats(0.01, 0.5))
def test_a_sharp_limit_is_found_within_the_tolerance_from_any_first_rate(
    max_rate: float, first: float, tolerance: float
):
    found = find_max_rate(lambda rate: 0.1 if rate <= max_rate else 20, first=first, tolerance=tolerance, most=MOST)
    assert found.held is not None
    assert found.broke is not None
    assert found.held <= max_rate < found.broke <= found.held * (1 + tolerance)


@given(capacity=st.floats(10, 50_000), first=RATES, limit=st.floats(2, 100))
def test_a_queue_is_loaded_until_its_waiting_time_reaches_the_limit(capacity: float, first: float, limit: float):
    """Time in a queue of random arrivals and services is 1 / (1 - load) services: the limit is met at 1 - 1 / limit."""

    def limit_ratio(rate: float) -> float:
        return 1 / (1 - rate / capacity) / limit if rate < capacity else float("inf")

    found = find_max_rate(limit_ratio, first=first, tolerance=0.05, most=MOST)
    max_rate = capacity * (1 - 1 / limit)
    assert found.held is not None
    assert found.held <= max_rate * (1 + 1e-9)
    assert max_rate <= found.held * 1.05


@given(max_rate=RATES, first=RATES, hiccup=st.integers(0, REPEATS - 1), wrong=st.sampled_from([0.6, 9.0]))
def test_near_the_limit_one_wrong_measurement_changes_nothing(max_rate: float, first: float, hiccup: int, wrong: float):
    calls: dict[float, int] = {}

    def limit_ratio(rate: float) -> float:
        number = calls[rate] = calls.get(rate, -1) + 1
        return wrong if number == hiccup else (0.9 if rate <= max_rate else 1.1)

    found = find_max_rate(limit_ratio, first=first, tolerance=0.05, most=MOST)
    assert found.held is not None
    assert found.held <= max_rate <= found.held * 1.05
    assert set(calls.values()) == {REPEATS - 1}


@pytest.mark.parametrize(("limit_ratio", "n_calls"), [(0.1, 1), (0.6, 3), (1.0, 3), (1.5, 3), (11.0, 1)])
def test_only_measurements_near_the_limit_are_repeated(limit_ratio: float, n_calls: int):
    rates: list[float] = []

    def measured(rate: float) -> float:
        rates.append(rate)
        return limit_ratio

    assert holds(measured, 100.0) == (limit_ratio <= 1)
    assert rates == [100.0] * n_calls


@given(first=RATES)
def test_when_all_rates_hold_the_highest_is_returned_and_when_none_holds_there_is_none(first: float):
    assert find_max_rate(lambda _: 0.1, first=first, tolerance=0.1, most=1_000) == RateBracket(1_000, None)
    assert find_max_rate(lambda _: 20, first=first, tolerance=0.1, most=1_000) == RateBracket(None, LOWEST_RATE)
