import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_events import NOON, made

from index.bundle import Bundle
from service.events.event import IMPRESSION
from service.events.exposure import Exposure
from service.events.kinds import BUILT_IN
from service.ranking.diversity import Caps
from service.ranking.exploration import Exploration, is_explored_place, mix, thompson_order

ranked_rows = st.lists(st.integers(0, 60), unique=True, max_size=40)
drawn_rows = st.lists(st.integers(0, 60), unique=True, max_size=20)
shares = st.floats(0, 1)


def mixed(
    ranked: list[int], drawn: list[int], share: float, depth: int = 10, cap: int | None = None
) -> tuple[list[int], set[int]]:
    """The mix of rows whose category is their last digit modulo 3."""
    return mix(ranked, drawn, share, depth, caps=Caps(cap), category_of=lambda row: row % 3)


def test_a_drawn_item_takes_the_last_place_of_each_run_and_the_others_move_down() -> None:
    assert mixed([1, 2, 3, 4, 5, 6], [50, 51, 52], share=0.4, depth=6) == ([1, 2, 50, 3, 51, 4], {50, 51})


def test_a_share_of_one_tenth_is_the_tenth_place_and_every_tenth_after_it() -> None:
    assert [place for place in range(1, 31) if is_explored_place(place, 0.1)] == [10, 20, 30]


def test_an_item_that_the_model_puts_there_itself_is_not_explored() -> None:
    assert mixed([1, 2, 3, 4], [2, 50], share=0.5, depth=4) == ([1, 2, 3, 50], {50})


def test_a_full_category_takes_no_drawn_item_and_gives_way_to_one_above() -> None:
    assert mixed([1, 2, 3, 4], [7, 9], share=0.5, depth=4, cap=1) == ([1, 9, 2], {9})


@given(ranked=ranked_rows, drawn=drawn_rows, share=shares, depth=st.integers(0, 40))
def test_of_the_first_n_places_at_most_the_share_is_explored_and_the_rest_keep_their_order(
    ranked: list[int], drawn: list[int], share: float, depth: int
) -> None:
    rows, explored = mixed(ranked, drawn, share, depth)
    assert len(set(rows)) == len(rows) <= depth
    assert explored <= set(drawn)
    for n in range(1, len(rows) + 1):
        assert len(explored.intersection(rows[:n])) <= n * share
    others = [row for row in rows if row not in explored]
    assert others == [row for row in ranked if row not in explored][: len(others)]
    assert len(rows) >= min(depth, len(ranked))


@given(ranked=ranked_rows, drawn=drawn_rows, share=shares, depths=st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_a_shorter_list_is_the_top_of_a_longer_one(
    ranked: list[int], drawn: list[int], share: float, depths: tuple[int, int]
) -> None:
    short, long = (mixed(ranked[:depth], drawn, share, depth)[0] for depth in sorted(depths))
    assert short == long[: len(short)]


@given(ranked=ranked_rows, drawn=drawn_rows, share=shares, cap=st.integers(1, 4))
def test_no_category_has_more_than_its_cap(ranked: list[int], drawn: list[int], share: float, cap: int) -> None:
    rows, _ = mixed(ranked, drawn, share, depth=40, cap=cap)
    assert max(np.bincount([row % 3 for row in rows]), default=0) <= cap


@given(ranked=ranked_rows, drawn=drawn_rows)
def test_without_exploration_the_list_is_the_ranked_one(ranked: list[int], drawn: list[int]) -> None:
    assert mixed(ranked, drawn, share=0.0) == (ranked[:10], set())


@given(
    counts=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1)), max_size=30),
    rate=st.floats(1e-6, 0.5),
    seed=st.integers(0, 2**63),
)
def test_draws_are_the_same_for_one_seed_and_name_each_item_at_most_once(
    counts: list[tuple[float, float]], rate: float, seed: int
) -> None:
    impressions = np.array([shown for shown, _ in counts])
    clicks = np.array([shown * clicked for shown, clicked in counts])
    first, second = (thompson_order(impressions, clicks, rate, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(set(first.tolist())) == len(first) <= len(counts)


def test_what_is_clicked_more_than_the_rest_is_drawn_first_and_what_never_is_not_at_all() -> None:
    impressions, clicks = np.full(3, 1_000.0), np.array([0.0, 300.0, 150.0])
    for seed in range(20):
        assert thompson_order(impressions, clicks, 0.05, np.random.default_rng(seed)).tolist() == [1, 2]


@pytest.fixture
def exposure() -> Exposure:
    return Exposure(
        BUILT_IN, half_life_s=7 * 86_400, refresh_s=0, most_items=1_000, most_places=10_000, label=lambda b: b or ""
    )


def show(exposure: Exposure, request: int, items: list[str], clicked: list[str]) -> None:
    events = [made(f"shown:{request}", kind=IMPRESSION, item_id="", items=items, request_id=f"r{request}", value=10)]
    events += [made(f"click:{request}:{item}", item_id=item, request_id=f"r{request}") for item in clicked]
    exposure.add(events, NOON)
    exposure.refresh(NOON + request)


def test_a_good_new_item_is_found_and_a_bad_one_stops_being_shown(exposure: Exposure, bundle: Bundle) -> None:
    """Of 40 items 38 are well known; the two new ones are clicked with 40 % and never, the others with 10 %."""
    good, bad = "item-38", "item-39"
    rng = np.random.default_rng(0)
    rates = dict.fromkeys(bundle.item_ids, 0.1) | {good: 0.4, bad: 0.0}
    for request in range(500):
        known = [f"item-{row}" for row in rng.choice(38, 10, replace=False)]
        show(exposure, request, known, [item for item in known if rng.random() < rates[item]])
    lists = []
    for request in range(500, 800):
        rows = np.arange(40)
        drawn = Exploration(bundle, exposure, 0.2, few=100, pool=40, seed=request).drawn(rows)
        assert set(drawn.tolist()) <= {38, 39}
        places, explored = mixed(list(range(38)), drawn.tolist(), share=0.2)
        assert len(explored) <= 2
        items = [bundle.item_ids[row] for row in places]
        lists.append(items)
        show(exposure, request, items, [item for item in items if rng.random() < rates[item]])
    shown = {item: [item in items for items in lists] for item in (good, bad)}
    first_of_good = shown[good].index(True)
    assert first_of_good < 10
    assert sum(shown[good][first_of_good : first_of_good + 50]) >= 35  # found: in most lists until it is well known
    assert 100 <= sum(shown[good]) <= 102  # then many have seen it
    assert 5 < sum(shown[bad]) < 50
    assert sum(shown[bad][-100:]) < sum(shown[bad][:100]) / 4  # given up, though few have seen it


def test_items_that_many_had_or_saw_are_no_candidates(exposure: Exposure, bundle: Bundle) -> None:
    most_had = int(bundle.popularity_count.argmax())
    show(exposure, 1, ["item-3"], [])
    show(exposure, 2, ["item-3"], [])
    few = round(bundle.popularity_count[most_had] / exposure.rate)  # a click takes 1 / rate impressions
    assert most_had not in Exploration(bundle, exposure, 0.5, few=few - 1, pool=40, seed=0).rarely_had()
    assert len(Exploration(bundle, exposure, 0.5, few=few + 1, pool=40, seed=0).rarely_had()) == 40
    found: set[int] = set()
    for seed in range(200):
        found |= set(Exploration(bundle, exposure, 0.5, few=1, pool=40, seed=seed).drawn(np.arange(40)).tolist())
    assert found == set(range(40)) - {3}


def test_of_more_rows_than_the_pool_a_sample_is_drawn_by_the_seed(exposure: Exposure, bundle: Bundle) -> None:
    samples = [
        Exploration(bundle, exposure, 0.5, few=1, pool=5, seed=seed).sample(np.arange(10, 30)).tolist()
        for seed in (1, 1, 2)
    ]
    assert samples[0] == samples[1] != samples[2]
    assert len(set(samples[0])) == 5
    assert Exploration(bundle, exposure, 0.5, few=1, pool=5, seed=1).sample(np.arange(3)).tolist() == [0, 1, 2]


def test_the_order_of_candidates_does_not_change_their_draws(exposure: Exposure, bundle: Bundle) -> None:
    exploration = Exploration(bundle, exposure, 0.5, few=100, pool=40, seed=7)
    rows, shuffled = np.arange(40), np.random.default_rng(1).permutation(40)
    assert rows[exploration.drawn(rows)].tolist() == shuffled[exploration.drawn(shuffled)].tolist()
