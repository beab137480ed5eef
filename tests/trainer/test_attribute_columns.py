"""What a column of an item table becomes: told by its looks, by the types of its file, or declared."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.attribute_types import ATTRIBUTE_TYPES, fits, inferred_types
from index.errors import InputError
from trainer.datasets.attribute_columns import attribute_values


def read(values, declared=None, *, name="a", written=True, separator="|"):
    return attribute_values(pl.Series(name, values), declared, separator=separator, written=written)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["12", " 7 ", None, ""], [12, 7, None, None]),
        (["12", "4.50", "-1e-05"], [12.0, 4.5, -1e-05]),
        (["1990", "2026"], [1990, 2026]),
        (["12", "n/a", "NaN", "-"], [12, None, None, None]),
        (["007", "7"], ["007", "7"]),  # an id
        (["4006381333931000", "1"], ["4006381333931000", "1"]),  # more digits than a float holds
        (["+4930123", "+4930124"], ["+4930123", "+4930124"]),
        (["12E5", "13"], ["12E5", "13"]),
        (["1.299,50", "7"], [1299.5, 7.0]),
        (["1,299.50", "12,000"], [1299.5, 12000.0]),
        (["12,50"], [12.5]),
        (["1,299"], ["1,299"]),  # 1299 or 1.299
        (["38", "XL"], ["38", "XL"]),
        (["TRUE", "false", ""], [True, False, None]),
        (["yes", "No"], [True, False]),
        (["0", "1"], [0, 1]),
        (["2026-11-29", None], ["2026-11-29", None]),
        (["2026/1/9", "2026-11-29"], ["2026-01-09", "2026-11-29"]),
        (["2026-11-29 21:40:00 UTC"], ["2026-11-29T21:40:00Z"]),
        (["Sun, 29 Nov 2026 22:40:00 +0100"], ["2026-11-29T21:40:00Z"]),
        (["0000-00-00", "1954-03-01"], [None, "1954-03-01"]),
        (["01/02/2019"], ["01/02/2019"]),
        (["red|blue", "red"], ["red|blue", "red"]),
        (["none", "NaN", "null"], ["none", None, None]),
        (["", None], [None, None]),
        (["NaN", "-"], [None, "-"]),
    ],
)
def test_a_column_of_text_is_what_all_of_its_values_look_like(values, expected):
    found = read(values).values
    assert found == expected
    assert [type(one) for one in found] == [type(one) for one in expected]


@pytest.mark.parametrize("name", ["sku", "brand_id", "EAN", "makerId", "zip"])
def test_numbers_under_the_name_of_an_id_stay_text(name):
    assert read(["12", "13"], name=name).values == ["12", "13"]
    assert read(["12", "13"], "number", name=name).values == [12, 13]
    assert read(["12", "13"], name="paid").values == [12, 13]


def test_what_was_guessed_or_nearly_a_number_is_told():
    (note,) = read(["1,299.50"]).notes
    assert "numbers with ',' between thousands (--attribute-types overrides)" in note
    (note,) = read(["1", "2", "3", "XL"], name="size").notes
    assert note == "size: kept as text, because 1 of 4 values are no plain numbers, first 'XL'"
    assert read(["red", "12"] * 3 + ["blue"]).notes == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["12", "2026-11-29"], ["12", "2026-11-29"]),  # JSON and Parquet say that it is text
        (["2026/1/9", None], ["2026-01-09", None]),
        ([12, None], [12, None]),
        ([1.5, math.nan], [1.5, None]),
        ([Decimal("1.50")], [1.5]),
        ([True, None], [True, None]),
        ([["red", "blue"], None], [["red", "blue"], None]),
        ([date(2026, 11, 29)], ["2026-11-29"]),
        ([datetime(2026, 11, 29, 21, 40)], ["2026-11-29T21:40:00Z"]),
        ([datetime(2026, 11, 29, 21, 40, tzinfo=UTC)], ["2026-11-29T21:40:00Z"]),
    ],
)
def test_a_file_with_types_keeps_them(values, expected):
    assert read(values, written=False).values == expected


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        (["12", "007"], "string", ["12", "007"]),
        ([12.0, 1.5], "string", ["12.0", "1.5"]),
        (["red| blue ||", "red", None], "list", [["red", "blue"], ["red"], None]),
        ([[1, 2], None], "list", [["1", "2"], None]),
        (["1", "0", "Y", "off"], "boolean", [True, False, True, False]),
        ([1, 0, None], "boolean", [True, False, None]),
        (["1700000000", "n/a"], "time", ["2023-11-14T22:13:20Z", None]),
        ([1_700_000_000_000], "time", ["2023-11-14T22:13:20Z"]),
        (["20261129"], "time", ["2026-11-29T00:00:00Z"]),
        ([math.nan, 2.0], "number", [None, 2.0]),
    ],
)
def test_a_declared_type_is_read_where_looks_would_say_another(values, declared, expected):
    assert read(values, declared, written=isinstance(values[0], str)).values == expected


def test_a_list_is_divided_at_the_separator_that_is_named():
    assert read(["red, blue"], "list", separator=",").values == [["red", "blue"]]


@pytest.mark.parametrize(
    ("values", "declared", "said"),
    [
        (["12", "XL", "S"], "number", "'a' is declared as number, but 2 of 3 values are none, first 'XL'; expected"),
        (["1,299"], "number", "first '1,299'; expected numbers such as 12"),
        (["yes", "maybe"], "boolean", "first 'maybe'; expected true or false"),
        (["2026-11-29", "soon"], "time", "first 'soon'; expected ISO 8601"),
        ([True], "number", "first 'True'"),
        ([2, 1], "boolean", "first '2'"),
        ([12], "list", "first '12'"),
        ([{"net": 1}], "string", "expected text"),
    ],
)
def test_a_value_of_another_type_than_declared_is_refused_by_name(values, declared, said):
    with pytest.raises(InputError, match=said):
        read(values, declared, written=isinstance(values[0], str))


WORDS = st.none() | st.text() | st.sampled_from(["12", "1,5", "true", "2026-11-29", "2026/1/9", "NaN", "1e5", "-", "0"])


@given(st.lists(WORDS, min_size=1), st.booleans())
def test_whatever_is_in_a_column_all_of_its_values_fit_one_type(values, written):
    found = attribute_values(pl.Series("a", values, dtype=pl.String), None, separator="|", written=written).values
    assert len(found) == len(values)
    types = inferred_types({"a": value} for value in found if value is not None)
    assert len(types) == any(value is not None for value in found)


@given(st.lists(WORDS, min_size=1), st.sampled_from(ATTRIBUTE_TYPES))
def test_a_declared_column_has_values_of_its_type_or_is_refused(values, declared):
    try:
        found = attribute_values(pl.Series("a", values, dtype=pl.String), declared, separator="|", written=True).values
    except InputError:
        return
    assert all(value is None or fits(value, declared) for value in found)
