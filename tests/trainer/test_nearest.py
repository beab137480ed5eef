"""Nearest items: exactly, under ties, and approximately with a recall that is what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from index.item_index import ItemIndex
from index.ranking import unit_rows
from trainer.nearest import EXACT_UP_TO, MIN_RECALL, nearest_items


def families(n_families: int = 60, size: int = 50, width: int = 16, seed: int = 0) -> np.ndarray:
    """Items around the centres of families, item i in family i % n_families."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_families, width))
    return np.tile(centres, (size, 1)) + 0.5 * rng.normal(size=(n_families * size, width))


def share_found(found: np.ndarray, true: np.ndarray) -> float:
    """Of the true neighbours besides the item itself."""
    return np.mean([np.isin(true[item][1:], row).mean() for item, row in enumerate(found)])


def test_the_nearest_item_of_an_item_is_itself_and_the_rest_come_by_cosine():
    features = np.array([[1, 0], [0.9, 0.1], [0, 1], [5, 0.1]])
    rows, cosines, _ = nearest_items(features, 3)
    np.testing.assert_array_equal(rows[0], [0, 3, 1])
    assert cosines[0, 0] == 1.0
    np.testing.assert_allclose(cosines[0, 2], 0.9 / np.hypot(0.9, 0.1), rtol=1e-6)


def test_among_equal_features_the_item_itself_comes_first_and_then_the_lower_rows():
    features = np.array([[1, 0], [0, 1], [0, 2], [0, 3], [0, 4], [1, 1]])
    rows = nearest_items(features, 3).rows
    np.testing.assert_array_equal(rows[4], [4, 1, 2])
    np.testing.assert_array_equal(rows[1], [1, 2, 3])


def test_many_items_that_share_the_mean_vector_keep_themselves_as_neighbours():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8))
    features[50:250] = features.mean(axis=0)
    rows = nearest_items(features, 10).rows
    np.testing.assert_array_equal(rows[:, 0], np.arange(300))
    np.testing.assert_array_equal(rows[60, 1:], np.arange(50, 59))


def test_k_beyond_the_catalogue_gives_every_item_once():
    rows = nearest_items(np.eye(3), 10).rows
    assert rows.shape == (3, 3)
    np.testing.assert_array_equal(np.sort(rows, axis=1), [[0, 1, 2]] * 3)


@given(
    features=hnp.arrays(np.int64, st.tuples(st.integers(2, 30), st.just(3)), elements=st.integers(1, 3)),
    k=st.integers(1, 8),
)
def test_with_any_number_of_duplicates_neighbours_are_the_best_by_cosine_then_row(features, k):
    rows = nearest_items(features, k).rows
    unit = unit_rows(features.astype(np.float32)).astype(np.float64)
    cosines = np.round(unit @ unit.T, 5)
    for item, found in enumerate(rows):
        assert found[0] == item
        assert len(set(found)) == len(found)
        others = np.delete(np.arange(len(unit)), item)
        best = np.sort(cosines[item][others])[::-1][: len(found) - 1]
        np.testing.assert_allclose(cosines[item][found[1:]], best, atol=2e-5)


@pytest.mark.parametrize("n_items", [4095, 4096, 4097])
def test_blocks_of_items_do_not_change_the_answer(n_items):
    features = np.random.default_rng(0).normal(size=(n_items, 4))
    rows = nearest_items(features, 3).rows
    np.testing.assert_array_equal(rows[:, 0], np.arange(n_items))
    unit = unit_rows(features)
    last = np.argsort(-(unit[-1] @ unit.T), kind="stable")[:3]
    np.testing.assert_array_equal(rows[-1], last)


def test_a_small_catalogue_is_searched_exactly():
    features = families()
    assert len(features) <= EXACT_UP_TO
    assert nearest_items(features, 5).recall == 1.0


def test_an_approximate_search_finds_the_share_of_neighbours_that_it_says(capsys):
    features = families()
    exact, found = nearest_items(features, 10, "exact"), nearest_items(features, 10, "approximate")
    assert MIN_RECALL <= found.recall < 1.0
    assert share_found(found.rows, exact.rows) == pytest.approx(found.recall, abs=0.02)
    assert f"{found.recall:.1%} of the neighbours" in capsys.readouterr().err


def test_what_an_approximate_search_finds_has_its_cosines_descending_and_itself_first():
    features = families()
    found = nearest_items(features, 10, "approximate")
    unit = unit_rows(features)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(len(features)))
    np.testing.assert_allclose(found.cosines, np.einsum("nd,nkd->nk", unit, unit[found.rows]), atol=1e-5)
    assert (np.diff(found.cosines, axis=1) <= 0).all()


def test_two_approximate_searches_agree_to_the_bit():
    one, two = (nearest_items(families(), 10, "approximate") for _ in range(2))
    np.testing.assert_array_equal(one.rows, two.rows)
    np.testing.assert_array_equal(one.cosines, two.cosines)


def test_equal_features_fall_by_lower_row_in_an_approximate_search_too():
    features = families()
    features[1000:1400] = features[0]
    rows = nearest_items(features, 10, "approximate").rows
    np.testing.assert_array_equal(rows[1200], [1200, 0, *range(1000, 1008)])
    np.testing.assert_array_equal(rows[0], [0, *range(1000, 1009)])


def test_an_item_whose_lists_hold_fewer_than_k_items_looks_into_more():
    features = families(n_families=30, size=100)  # lists of about 40
    found = nearest_items(features, 300, "approximate")
    assert found.rows.shape == (3000, 300)
    assert found.rows.min() >= 0
    assert all(len(set(row)) == 300 for row in found.rows[::100].tolist())


def test_a_long_list_is_searched_in_blocks_to_the_same_answer(monkeypatch):
    whole = nearest_items(families(), 10, "approximate")
    monkeypatch.setattr("trainer.nearest._QUERIES_OF_A_LIST", 7)
    in_blocks = nearest_items(families(), 10, "approximate")
    np.testing.assert_array_equal(in_blocks.rows, whole.rows)
    np.testing.assert_allclose(in_blocks.cosines, whole.cosines, atol=1e-6)


def test_features_without_any_structure_are_searched_exactly(capsys):
    features = np.random.default_rng(0).normal(size=(2000, 256))
    found = nearest_items(features, 10, "approximate")
    assert "exact search" in capsys.readouterr().err
    np.testing.assert_array_equal(found.rows, nearest_items(features, 10, "exact").rows)
    assert found.recall == 1.0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_catalogue_of_a_handful_of_items_can_be_searched_approximately(k):
    rows = nearest_items(np.eye(3), k, "approximate").rows
    np.testing.assert_array_equal(rows[:, 0], [0, 1, 2])
    assert rows.shape == (3, min(k, 3))


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_a_memory_mapped_float16_table_gives_what_its_float32_copy_gives(tmp_path, search):
    np.save(tmp_path / "features.npy", families().astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    one, two = nearest_items(mapped, 10, search), nearest_items(np.array(mapped, dtype=np.float32), 10, search)
    np.testing.assert_array_equal(one.rows, two.rows)
    np.testing.assert_array_equal(one.cosines, two.cosines)


def test_a_search_of_an_index_before_changes_no_bit():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 100)).astype(np.float32)
    before = nearest_items(features, 8).cosines
    ItemIndex.build(features, "Flat").search(features, 3)
    np.testing.assert_array_equal(nearest_items(features, 8).cosines, before)
