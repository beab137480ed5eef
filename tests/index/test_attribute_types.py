"""The type of a value, and of an attribute with many values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.attribute_types import ATTRIBUTE_TYPES, fits, inferred_types, parse_time, type_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("red", "string"),
        ("", "string"),
        ("1990", "string"),
        (1990, "number"),
        (-0.5, "number"),
        (True, "boolean"),
        (["red", "blue"], "list"),
        ([], "list"),
        ("2026-11-29", "time"),
        ("2026-11-29T21:40:00Z", "time"),
        ("2026-11-29 21:40+02:00", "time"),
        ("2026-02-30", "string"),
        ("2026-11-29T21:40:00Z and more", "string"),
        (None, None),
        (math.nan, None),
        (2**64, None),
        (10**400, None),
        ([1, 2], None),
        ({"net": 1}, None),
    ],
)
def test_the_type_of_a_value(value, expected):
    assert type_of(value) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T00:00:01.5", 1.5),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31", -86_400),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200),
        ("19700101", None),
        ("1970-01-01T24:00:00", None),
    ],
)
def test_a_time_without_a_zone_is_utc(text, seconds):
    assert parse_time(text) == seconds


def test_a_time_is_a_string_where_other_texts_are_strings():
    assert fits("2026-11-29", "string")
    assert not fits("soon", "time")
    records = [{"released": "2026-11-29", "note": "2026-11-29"}, {"released": "2026-11-30", "note": "soon"}]
    assert inferred_types(records) == {"released": "time", "note": "string"}


def test_an_attribute_with_values_of_several_types_has_none():
    assert inferred_types([{"size": 38, "price": 1}, {"size": "XL", "price": 2.5}, {"price": None}]) == {
        "price": "number"
    }


@given(JSON)
def test_a_value_fits_its_own_type_alone(value):
    kind = type_of(value)
    fitting = {name for name in ATTRIBUTE_TYPES if fits(value, name)}
    assert fitting == ({kind} if kind != "time" else {"time", "string"}) - {None}
