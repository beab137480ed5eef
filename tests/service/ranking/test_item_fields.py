"""Lists carry the fields that a request names, and no others."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from bundles import make_content
from hypothesis import given
from hypothesis import strategies as st
from servers import publish, serving

from service.ranking.item_fields import METADATA, chosen_fields, render_fields

RECORD: dict[str, Any] = {
    "item_id": "a",
    "title": "Oak chair",
    "category": "chair",
    "image": None,
    "attributes": {"price": 12.5, "colour": ["red", "blue"], "new": True, "rank": "first"},
}


def shown(*texts: str, record: dict[str, Any] = RECORD) -> dict[str, Any]:
    fields = chosen_fields(texts)
    assert fields is not None
    found: dict[str, Any] = orjson.loads(render_fields(record, fields).in_list + b"}")
    return found


@given(st.lists(st.sampled_from([*METADATA, "price", "colour", "new", "rank", "weight"]), min_size=1))
def test_an_item_has_what_is_named_and_its_id(names: list[str]) -> None:
    found = shown(*names) if len(names) % 2 else shown(",".join(names))
    plain, attributes = {*names} & {*METADATA}, {*names} - {*METADATA}
    told = {"categories": ["chair"], **RECORD}
    expected = {"item_id": "a", **{name: told[name] for name in plain}}
    if attributes:
        expected["attributes"] = {name: value for name, value in RECORD["attributes"].items() if name in attributes}
    assert found == expected


def test_all_attributes_come_by_one_word() -> None:
    assert shown("attributes")["attributes"] == shown("price, attributes")["attributes"] == RECORD["attributes"]


def test_several_categories_are_told_and_one_or_none_is_a_list_too() -> None:
    several = {**RECORD, "attributes": {"categories": ["chair", "oak"]}}
    assert shown("categories", record=several)["categories"] == ["chair", "oak"]
    assert shown("categories")["categories"] == ["chair"]
    assert shown("categories", record={**RECORD, "category": ""})["categories"] == []


@pytest.mark.parametrize("texts", [(), ("",), (" , ",)])
def test_no_name_chooses_nothing(texts: tuple[str, ...]) -> None:
    assert chosen_fields(texts) is None


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    content, registry = make_content(), tmp_path_factory.mktemp("registry")
    for row, record in enumerate(content.items):
        record["attributes"] |= {"price": row / 2, **({"colour": "red"} if row == 7 else {})}
    publish(registry, content)
    with serving(registry=registry) as client:
        yield client


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/recommend/user-3", {}),
    ("GET", "/recommend/user-3", {"category": "lamp"}),
    ("GET", "/recommend/nobody", {}),
    ("GET", "/similar/item-7", {}),
    ("GET", "/popular", {}),
    ("GET", "/trending", {}),
    ("POST", "/recommend", {"items": [{"item_id": "item-3"}]}),
    ("POST", "/rank", {"candidates": ["item-3", "item-4", "item-5"], "user_id": "user-3"}),
    ("POST", "/recommend/batch", {"user_ids": ["user-3", "nobody"]}),
]


def ask(client: httpx.Client, method: str, path: str, asked: dict[str, Any]) -> dict[str, Any]:
    response = client.get(path, params=asked) if method == "GET" else client.post(path, json=asked)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def items(answer: dict[str, Any]) -> list[dict[str, Any]]:
    several: list[dict[str, Any]] = answer.get("answers", [answer])
    return [item for one in several for item in one["items"]]


@pytest.mark.parametrize(("method", "path", "asked"), CALLS)
def test_every_list_carries_the_chosen_fields_and_ranks_as_without(
    client: httpx.Client, method: str, path: str, asked: dict[str, Any]
) -> None:
    usual = ask(client, method, path, {**asked, "k": 3})
    answer = ask(client, method, path, {**asked, "k": 3, "fields": ["price,title", "image"]})
    assert "warnings" not in answer
    for item, plain in zip(items(answer), items(usual), strict=True):
        price = int(item["item_id"].partition("-")[2]) / 2
        expected = {name: value for name, value in plain.items() if name != "category"}
        assert item == {**expected, "attributes": {"price": price}}


@pytest.mark.parametrize(("method", "path", "asked"), CALLS)
def test_a_name_that_no_item_has_is_warned_of_with_the_nearest_that_one_has(
    client: httpx.Client, method: str, path: str, asked: dict[str, Any]
) -> None:
    answer = ask(client, method, path, {**asked, "fields": ["prise", "title", "nothing like it"]})
    assert answer["warnings"] == ["fields: no item has 'prise' (did you mean 'price'?), 'nothing like it'"]
    assert all(set(item) >= {"item_id", "title", "attributes"} for item in items(answer))


def test_what_only_an_item_outside_the_list_has_is_no_mistake(client: httpx.Client) -> None:
    answer = ask(client, "POST", "/rank", {"candidates": ["item-1"], "fields": ["colour"]})
    assert "warnings" not in answer
    assert answer["items"][0]["attributes"] == {}


def test_explanations_stay_beside_chosen_fields(client: httpx.Client) -> None:
    (item,) = ask(client, "GET", "/recommend/user-3", {"k": 1, "explain": True, "fields": "item_id"})["items"]
    assert set(item) == {"item_id", "rank", "score", "explanation"}
