from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from index.validation import explained


class Red(BaseModel):
    kind: Literal["red"]


class Blue(BaseModel):
    kind: Literal["blue"]


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    size: Literal["small", "large"] = "small"
    code: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    weights: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0,)
    colour: Annotated[Red | Blue, Field(discriminator="kind")] = Red(kind="red")

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("expected an even number")
        return number


def told(value: Any, **options: bool) -> str:
    with pytest.raises(ValidationError) as raised:
        Order.model_validate_json(value) if isinstance(value, str) else Order.model_validate(value)
    return explained(raised.value, **options)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "number is missing"),
        ({"number": 2, "sise": "small"}, "sise is no known field"),
        ({"number": "two"}, "number: expected a valid integer, found 'two'"),
        ({"number": 3}, "number: expected an even number, found 3"),
        ({"number": 2, "size": "huge"}, "size: expected 'small' or 'large', found 'huge'"),
        ({"number": 2, "code": "A"}, "code: expected text of the pattern '^[a-z]+$', found 'A'"),
        ({"number": 2, "weights": []}, "weights: expected at least 1 item, found []"),
        ({"number": 2, "weights": [1, "x"]}, "weights.1: expected a valid number, found 'x'"),
        ({"number": 2, "weights": ["x"]}, "weights.0: expected a valid number, found 'x'"),
        ({"number": 2, "colour": {}}, "colour lacks 'kind'"),
        ({"number": 2, "colour": {"kind": "green"}}, "colour: expected one of 'red', 'blue', found 'green'"),
        ([], "expected an object with named fields, found []"),
        ("{", "it is no JSON (EOF while parsing an object at line 1 column 1)"),
        ("[]", "expected an object with named fields, found []"),
    ],
)
def test_every_kind_of_problem_names_the_field_what_was_expected_and_what_was_found(value, sentence):
    assert told(value) == sentence


def test_a_long_value_is_cut_and_many_problems_are_counted():
    many = told({"number": "x" * 500, "a": 1, "b": 2, "c": 3, "d": 4})
    assert many.endswith("; and 2 more")
    assert len(many) < 250


def test_secret_values_are_not_repeated():
    assert told({"number": "hunter2"}, show_values=False) == "number: expected a valid integer"
