import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.max_rate import LEAST, REPEATS, RateBracket, find_max_rate, holds

RATES = st.floats(2, 50_000)
MOST = 100_000.0


@given(knee=RATES, first=RATES, tolerance=st.floats(0.01, 0.5))
def test_a_sharp_knee_is_found_within_the_tolerance_wherever_the_search_begins(
    knee: float, first: float, tolerance: float
):
    found = find_max_rate(lambda rate: 0.1 if rate <= knee else 20, first=first, tolerance=tolerance, most=MOST)
    assert found.held is not None
    assert found.broke is not None
    assert found.held <= knee < found.broke <= found.held * (1 + tolerance)


@given(capacity=st.floats(10, 50_000), first=RATES, limit=st.floats(2, 100))
def test_a_queue_is_loaded_up_to_where_its_waiting_reaches_the_limit(capacity: float, first: float, limit: float):
    """Time in a queue of random arrivals and services is 1 / (1 - load) services: the limit is met at 1 - 1 / limit."""

    def limit_ratio(rate: float) -> float:
        return 1 / (1 - rate / capacity) / limit if rate < capacity else float("inf")

    found = find_max_rate(limit_ratio, first=first, tolerance=0.05, most=MOST)
    knee = capacity * (1 - 1 / limit)
    assert found.held is not None
    assert found.held <= knee * (1 + 1e-9)
    assert knee <= found.held * 1.05


@given(knee=RATES, first=RATES, hiccup=st.integers(0, REPEATS - 1), wrong=st.sampled_from([0.6, 9.0]))
def test_at_the_border_one_measurement_that_goes_wrong_changes_nothing(
    knee: float, first: float, hiccup: int, wrong: float
):
    asked: dict[float, int] = {}

    def limit_ratio(rate: float) -> float:
        number = asked[rate] = asked.get(rate, -1) + 1
        return wrong if number == hiccup else (0.9 if rate <= knee else 1.1)

    found = find_max_rate(limit_ratio, first=first, tolerance=0.05, most=MOST)
    assert found.held is not None
    assert found.held <= knee <= found.held * 1.05
    assert set(asked.values()) == {REPEATS - 1}


@pytest.mark.parametrize(("strain", "asked"), [(0.1, 1), (0.6, 3), (1.0, 3), (1.5, 3), (11.0, 1)])
def test_only_what_leaves_doubt_is_asked_again(limit_ratio: float, asked: int):
    rates: list[float] = []

    def measured(rate: float) -> float:
        rates.append(rate)
        return limit_ratio

    assert holds(measured, 100.0) == (limit_ratio <= 1)
    assert rates == [100.0] * asked


@given(first=RATES)
def test_where_every_rate_holds_the_highest_is_the_answer_and_where_none_does_there_is_none(first: float):
    assert find_max_rate(lambda _: 0.1, first=first, tolerance=0.1, most=1_000) == RateBracket(1_000, None)
    assert find_max_rate(lambda _: 20, first=first, tolerance=0.1, most=1_000) == RateBracket(None, LEAST)
