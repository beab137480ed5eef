"""A body is refused for its size before it is parsed, for its lengths before its entries are looked at."""

import json
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Field

from loadtests.hostile_bodies import hostile_bodies
from service.errors import InvalidRequestError
from service.http import json_body
from service.http.json_body import BodyParser


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    item_id: str = ""
    weight: float | str | int = 1.0


class Wishes(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wishes: tuple[Wish, ...] = Field((), max_length=5, fail_fast=True)


parse = BodyParser(Wishes)


def refusal(body: bytes) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        parse(body)
    return refused.value.detail


def weight(number: str) -> Any:
    return parse(b'{"wishes":[{"weight":%b}]}' % number.encode()).wishes[0].weight


@pytest.mark.parametrize("entry", ["{}", "[]", '"a"', "7", "null", '{"weight":true}'])
def test_a_list_that_is_too_long_is_refused_for_that_whatever_its_entries_are(entry: str) -> None:
    assert refusal(b'{"wishes":[%b]}' % ",".join([entry] * 6).encode()) == (
        "body: wishes has 6 entries, the limit is 5"
    )


def test_an_object_of_many_fields_is_refused_by_their_number() -> None:
    entry = {str(number): 0 for number in range(67)}
    assert refusal(json.dumps({"wishes": [entry]}).encode()) == "body: wishes.0 has 67 fields, the limit is 66"
    assert refusal(json.dumps(entry).encode()) == "body: has 67 fields, the limit is 65"
    assert refusal(json.dumps({"a": {"b": entry}}).encode()) == "body: a.b has 67 fields, the limit is 64"


def test_of_many_wrong_entries_the_first_is_named() -> None:
    assert refusal(b'{"wishes":[{},{"a":1},{"b":1}]}').startswith("body: wishes.1.a: extra inputs")
    assert "wishes.2" not in refusal(b'{"wishes":[{},{"a":1},{"b":1}]}')


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 2_000, "body: has 2000 objects and lists, the limit is 1031"),
        (b'{"":' * 2_000, "body: has 2000 objects and lists, the limit is 1031"),
        (b'["' + b":" * 40_000 + b'"]', "body: has 40000 fields, the limit is 32779"),
    ],
)
def test_what_is_too_much_to_parse_is_not_parsed(body: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(json_body, "_parse")
    assert refusal(body) == said


@pytest.mark.parametrize("n", [40, 300, 1_000])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(n: int, pair: tuple[str, str]) -> None:
    body = pair[0] * n + "0" + pair[1] * n
    assert "body: has more than 32 lists and objects in each other" in refusal(body.encode())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("18446744073709551615", 2**64 - 1),
        ("-0", 0),
        ("1" + "0" * 300, 1e300),
        ("5e-324", 5e-324),
    ],
)
def test_numbers_beyond_64_bits_are_the_nearest_float(written: str, read: float) -> None:
    assert weight(written) == read


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400, "NaN", "Infinity", "-Infinity", "01", "+1", "0x1"])
def test_what_no_float_holds_is_no_json(number: str) -> None:
    assert refusal(b'{"wishes":[{"weight":%b}]}' % number.encode()).startswith("body: invalid JSON: ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{}".encode("utf-16"), "body: invalid JSON: expected UTF-8, found byte 0xff at offset 0"),
        (b'{"\xed\xa0\x80": 1}', "body: invalid JSON: expected UTF-8, found byte 0xed at offset 2"),
        ("{}".encode("utf-32-be"), "body: invalid JSON: "),
        (b'{"a": "\\ud800"}', "body: invalid JSON: "),
        (b'{"a": 1} {}', "body: invalid JSON: "),
    ],
)
def test_what_is_not_json_in_utf_8_is_told_in_words(body: bytes, said: str) -> None:
    assert refusal(body).startswith(said)
    assert refusal(body).isprintable()


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b'\xef\xbb\xbf{"wishes": []}') == Wishes()


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    assert weight('1,"weight":2') == 2


@pytest.mark.parametrize("n_bytes", [20_000, 200_000])
def test_a_hostile_body_is_refused_in_a_short_sentence(client: httpx.Client, n_bytes: int) -> None:
    for name, path, body in hostile_bodies(n_bytes):
        response = client.post(path, content=body)
        if "result" not in path:  # no external system trains
            assert response.status_code == 422, (name, response.text)
        assert response.status_code < 500, (name, response.text)
        assert len(response.content) < 1_000, name
