import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from index.recency import Recency, past_weights

recencies = st.builds(Recency, tau=st.floats(0.1, 1e6), floor=st.floats(0, 0.99))


def test_the_newest_counts_one_and_each_event_divides_by_e_to_the_1_over_tau():
    assert Recency(tau=2).weights(3) == pytest.approx([math.exp(-1), math.exp(-0.5), 1])
    assert Recency(tau=1, floor=0.2).weights(2) == pytest.approx([0.2 + 0.8 / math.e, 1])
    assert Recency(tau=2).weights(0).shape == (0,)


def test_a_weight_halves_after_the_half_life():
    recency = Recency(tau=10)
    assert recency.half_life == pytest.approx(6.93, abs=0.01)
    assert recency.at(np.array([recency.half_life, 2 * recency.half_life])) == pytest.approx([0.5, 0.25])


def test_the_oldest_of_a_long_past_counts_the_floor():
    assert Recency(tau=1, floor=0.25).weights(10_000)[0] == 0.25
    assert Recency(tau=1).weights(10_000)[0] == 0


def test_without_recency_all_count_alike():
    assert past_weights(np.array([0, 2, 2, 3]), None).tolist() == [1, 1, 1]


@given(recencies, st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 9))
def test_each_user_of_many_has_the_weights_that_one_alone_has(recency: Recency, lengths: list[int], start: int):
    found = past_weights(start + np.concatenate([[0], np.cumsum(lengths)]), recency)
    assert found.dtype == np.float32
    assert found.tolist() == [weight for n in lengths for weight in recency.weights(n).tolist()]


@pytest.mark.parametrize(
    "wrong", [{"tau": 0}, {"tau": -1}, {"tau": math.inf}, {"tau": math.nan}, {"tau": 1, "floor": 1}, {"floor": 0.1}]
)
def test_what_is_no_recency_is_refused(wrong):
    with pytest.raises(ValidationError):
        Recency(**wrong)
