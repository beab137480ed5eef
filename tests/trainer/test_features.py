import numpy as np
import pytest

from index.errors import InputError
from trainer import features
from trainer.features import checked_features, forget_pages, load_features, rows_where, with_mean_for_zero_rows

IDS = ["a", "b", "c"]


def test_half_precision_stays_and_double_precision_becomes_single():
    assert checked_features("text", np.ones((3, 2), np.float16), IDS).dtype == np.float16
    assert checked_features("text", np.ones((3, 2), np.float64), IDS).dtype == np.float32


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_with_the_items_they_belong_to(value):
    features = np.ones((3, 2), np.float32)
    features[1:, 0] = value
    with pytest.raises(
        InputError, match="image features have NaN or infinite values in 2 of 3 rows; first items: b, c"
    ):
        checked_features("image", features, IDS)


@pytest.mark.parametrize(("value", "dtype"), [(2e18, np.float32), (-2e18, np.float64), (1e300, np.float64)])
def test_values_whose_squares_are_infinite_are_refused(value, dtype):
    features = np.ones((3, 2), dtype)
    features[1, 0] = value
    with pytest.raises(InputError, match=r"image features have .* in 1 of 3 rows; first items: b"):
        checked_features("image", features, IDS)


def test_another_number_of_rows_than_items_is_refused():
    with pytest.raises(InputError, match="text features have 4 rows, but there are 3 items"):
        checked_features("text", np.ones((4, 2), np.float32), IDS)


@pytest.mark.parametrize("features", [np.ones(3), np.ones((3, 0)), np.array([["x"], ["y"], ["z"]])])
def test_what_is_no_table_of_numbers_is_refused(features):
    with pytest.raises(InputError, match="must be a table of numbers"):
        checked_features("text", features, IDS)


def test_zero_rows_become_the_mean_of_the_others_and_are_counted():
    features = np.array([[1, 2], [0, 0], [3, 0], [0, 0]], np.float16)
    filled, n_missing = with_mean_for_zero_rows("text", features)
    assert n_missing == 2
    assert filled.tolist() == [[1, 2], [2, 1], [3, 0], [2, 1]]
    assert not features[1].any()  # what was handed in stays as it was


def test_features_that_are_zero_everywhere_are_refused():
    with pytest.raises(InputError, match="zero in all 3 rows"):
        with_mean_for_zero_rows("text", np.zeros((3, 2), np.float32))


NPY = b"\x93NUMPY\x01\0\x16\0"


@pytest.mark.parametrize(
    "content", [b"", b"not an array", b"PK\x03\x04", NPY + b"{'descr': (((((((((((((\n", NPY + b"{'descr': '<f4\0"]
)
def test_a_feature_file_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "f.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"f\.npy cannot be read as a \.npy file"):
        load_features(tmp_path / "f.npy")
    with pytest.raises(InputError, match="no such file"):
        load_features(tmp_path / "g.npy")


def test_a_table_looked_at_some_rows_at_a_time_and_let_go_of_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_ROWS_AT_ONCE", 3)
    values = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float16)
    values[[2, 7]] = 0
    np.save(tmp_path / "text.npy", values)
    mapped = load_features(tmp_path / "text.npy")
    np.testing.assert_array_equal(rows_where(mapped, lambda rows: rows == 0), [row in (2, 7) for row in range(8)])
    forget_pages(mapped)
    np.testing.assert_array_equal(checked_features("text", mapped, [str(row) for row in range(8)]), values)
