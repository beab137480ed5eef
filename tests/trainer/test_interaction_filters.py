import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InputError
from trainer.interaction_filters import k_core, rated_at_least, unknown_item_ids, without_missing_ids, without_repeats

pairs = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), max_size=60)


def interactions(*rows):
    schema = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float32, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_the_k_core_is_iterated_until_it_is_stable():
    # item z falls first (1 < 2), which leaves u with one interaction, which leaves x with one, and so on: all fall
    chain = [("u", "z"), ("u", "x"), ("v", "x"), ("v", "y"), ("w", "y")]
    square = [("a", "p"), ("a", "q"), ("b", "p"), ("b", "q")]
    kept = k_core(interactions(*((user, item, 1, 0) for user, item in chain + square)), 2)
    assert kept.select("user_id", "item_id").rows() == square


@given(pairs=pairs, k=st.integers(0, 4))
def test_in_the_k_core_every_user_and_item_has_k_and_what_fell_could_not_stay(pairs, k):
    found = interactions(*((user, item, 1, 0) for user, item in pairs))
    kept = k_core(found, k)
    for name in ("user_id", "item_id"):
        assert (kept[name].value_counts()["count"] >= k).all()
    assert k_core(kept, k).equals(kept)
    assert k_core(found.reverse(), k).sort(pl.all()).equals(kept.sort(pl.all()))


@pytest.mark.parametrize(
    ("keep", "times"), [("earliest", [10, None, 5]), ("latest", [30, None, 5]), ("all", [30, 10, None, 5])]
)
def test_of_repeated_pairs_the_earliest_or_the_latest_or_all_stay(keep, times):
    found = interactions(("u", "x", 1, 30), ("u", "x", 1, 10), ("u", "y", 1, None), ("v", "x", 1, 5))
    assert sorted(without_repeats(found, keep)["timestamp"].to_list(), key=str) == sorted(times, key=str)


def test_repeated_pairs_without_times_leave_the_first_and_the_order_is_kept():
    found = interactions(("u", "x", 1, None), ("a", "x", 2, None), ("u", "x", 3, None))
    assert without_repeats(found, "earliest")["rating"].to_list() == [1, 2]
    assert without_repeats(found, "latest")["rating"].to_list() == [2, 3]


def test_ratings_below_the_threshold_and_missing_ones_go():
    found = interactions(("u", "x", 3.5, 0), ("u", "y", 4, 0), ("u", "z", None, 0))
    assert rated_at_least(found, 4)["item_id"].to_list() == ["y"]


def test_rows_without_a_user_or_an_item_go():
    found = interactions(("u", "x", 1, 0), (None, "x", 1, 0), ("u", "", 1, 0))
    assert without_missing_ids(found).rows() == [("u", "x", 1.0, 0)]


def test_unknown_items_are_found_once_each_and_are_an_error_where_wanted():
    found, items = interactions(("u", "x", 1, 0), ("u", "q", 1, 0), ("v", "q", 1, 0)), pl.DataFrame({"item_id": ["x"]})
    assert unknown_item_ids(found, items, "keep").to_list() == ["q"]
    with pytest.raises(InputError, match="1 items of the interactions are not in the item table: q"):
        unknown_item_ids(found, items, "error")
