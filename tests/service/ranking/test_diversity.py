import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.ranking.diversity import JITTER, Caps, arrange, insert_pins, jittered

NO_CATEGORY = np.full(50, -1)


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.standard_normal((n, 4))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_mmr(relevance: np.ndarray, n: int, diversity: float, vectors: np.ndarray) -> list[int]:
    """As the paper writes it, one candidate after another."""
    scaled = (relevance - relevance.min()) / (np.ptp(relevance) or 1)
    taken: list[int] = []
    while len(taken) < min(n, len(relevance)):
        left = [i for i in range(len(relevance)) if i not in taken]
        likeness = [max((float(vectors[i] @ vectors[j]) for j in taken), default=-1.0) for i in left]
        worth = [(1 - diversity) * scaled[i] - diversity * like for i, like in zip(left, likeness, strict=True)]
        taken.append(left[int(np.argmax(worth))])
    return taken


@given(st.integers(0, 999), st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_variety_is_chosen_as_maximal_marginal_relevance_says(seed: int, p: int, n: int, diversity: float) -> None:
    rng = np.random.default_rng(seed)
    relevance, vectors = np.sort(rng.random(p))[::-1], unit(rng, p)
    found = arrange(relevance, n, Caps(None), NO_CATEGORY[:p], diversity=diversity, vectors=vectors)
    assert found == slow_mmr(relevance, n, diversity, vectors)


def test_two_alike_do_not_follow_each_other_where_variety_counts() -> None:
    alike, other = [1.0, 0.0], [0.0, 1.0]
    vectors, relevance = np.array([alike, alike, other]), np.array([3.0, 2.9, 2.0])
    asked = (relevance, 3, Caps(None), NO_CATEGORY[:3])
    assert arrange(*asked, diversity=0.0, vectors=vectors) == [0, 1, 2]
    assert arrange(*asked, diversity=0.8, vectors=vectors) == [0, 2, 1]


def test_what_a_space_knows_nothing_of_is_like_nothing() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert arrange(np.array([3.0, 2.9, 2.0]), 3, Caps(None), NO_CATEGORY[:3], diversity=1, vectors=vectors)[1] == 2


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 30))
def test_at_most_so_many_of_a_category_are_taken_the_best_of_each(categories: list[int], most: int, n: int) -> None:
    relevance = np.linspace(1, 0, len(categories))
    expected = [i for i, one in enumerate(categories) if one < 0 or categories[:i].count(one) < most]
    assert arrange(relevance, n, Caps(most), np.array(categories)) == expected[:n]


def test_a_category_that_is_full_from_before_gets_no_more() -> None:
    caps = Caps(1)
    assert arrange(np.array([2.0, 1.0]), 2, caps, np.array([5, 6])) == [0, 1]
    assert arrange(np.array([2.0, 1.0]), 2, caps, np.array([6, 7])) == [1]


@given(st.integers(0, 999), st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30))
def test_a_seed_moves_only_near_equals_and_the_same_ones_again(seed: int, values: list[float]) -> None:
    scores = np.sort(np.float32(values))[::-1]
    chance = jittered(scores, seed)
    assert chance.tolist() == jittered(scores, seed).tolist()
    order, reach = np.argsort(-chance, kind="stable"), JITTER * float(scores.std()) + 1e-6
    for place, one in enumerate(order):
        assert all(scores[other] >= scores[one] - reach for other in order[:place])


def test_without_a_seed_nothing_is_left_to_chance() -> None:
    scores = np.float32([3, 2, 1])
    assert jittered(scores, None) is scores
    assert len({tuple(np.argsort(-jittered(np.array([5, 1.002, 1.001, 1]), seed))) for seed in range(9)}) > 1


def test_pins_that_meet_or_lie_beyond_the_end_find_a_place() -> None:
    assert insert_pins([1, 2, 3], [(2, 9), (2, 8)], 5) == [1, 9, 8, 2, 3]
    assert insert_pins([1], [(7, 9), (5, 8)], 5) == [1, 8, 9]
    assert insert_pins([1, 2, 3], [(7, 9)], 3) == [1, 2, 3]
    assert insert_pins([], [(1, 9)], 2) == [9]


@given(st.lists(st.integers(0, 20), unique=True), st.lists(st.integers(1, 30), max_size=4), st.integers(0, 30))
def test_a_shorter_list_with_pins_is_the_start_of_a_longer_one(rows: list[int], places: list[int], n: int) -> None:
    pins = [(place, 100 + i) for i, place in enumerate(places)]
    whole = insert_pins(rows, pins, 60)
    assert sorted(whole) == sorted([*rows, *(row for _, row in pins)])
    assert insert_pins(rows[:n], pins, n) == whole[:n]
