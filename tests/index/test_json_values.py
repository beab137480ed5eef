import json
import math

import orjson
import pytest

from index.json_values import json_flaw

DEEP = [1]
for _ in range(2000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 2**64 - 1, -(2**63), 1.5, "", "\N{PARTY POPPER}\0", [1, [2.0, None]], {"a": {"b": [{}]}}],
)
def test_what_has_no_flaw_goes_through_the_services_json(value):
    assert json_flaw(value) is None
    assert orjson.loads(orjson.dumps(orjson.loads(json.dumps(value)))) == value


@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        (math.inf, "is not finite"),
        (math.nan, "is not finite"),
        (2**64, "is a whole number beyond 64 bits"),
        (-(2**63) - 1, "is a whole number beyond 64 bits"),
        ([1, [math.nan]], "is not finite"),
        ({"a": {"b": 2**70}}, "is a whole number beyond 64 bits"),
        ({1: 2}, "has a name that is no text"),
        ("\ud800", "is text with half a surrogate pair"),
        ({"\ud800": 1}, "is text with half a surrogate pair"),
        (b"x", "is of type bytes"),
        ({1, 2}, "is of type set"),
        (1j, "is of type complex"),
        (DEEP, "is nested more than 64 deep"),
    ],
)
def test_what_the_services_json_cannot_hold_is_told(value, flaw):
    assert json_flaw(value) == flaw
