import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from bundles import make_content
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import Valkey, publish, serving

from index.bundle import Bundle
from service.http.responses import CatalogueAnswer, ItemAnswer, ItemsAnswer, ItemUsersAnswer
from service.http.security.keys import new_key

CHAIR = {
    "title": "Oak chair",
    "categories": ["chair", "outdoor"],
    "attributes": {"price": 20, "colour": ["red", "blue"], "since": "2026-11-29", "new": True, "maker": "us"},
    "image": "chair.jpg",
    "text": "A chair of oak.",
    "features": {"text": [0.5, 1.5]},
}


@pytest.fixture(scope="module")
def client(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(registry=registry, data=tmp_path_factory.mktemp("data"), items_max_batch=300) as client:
        yield client


@pytest.fixture
def fresh(registry: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry, data=tmp_path, live_items_max=5) as client:
        yield client


def accepted(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    ItemsAnswer.model_validate(response.json())
    return response.json()  # type: ignore[no-any-return]


def shown(client: httpx.Client, item_id: str) -> dict[str, Any]:
    response = client.get(f"/items/{item_id}")
    assert response.status_code == 200, response.text
    ItemAnswer.model_validate(response.json())
    return response.json()  # type: ignore[no-any-return]


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    while True:
        response = client.get("/items", params=query)
        assert response.status_code == 200, response.text
        CatalogueAnswer.model_validate(response.json())
        found += response.json()["items"]
        query["after"] = response.json()["next"]
        if query["after"] is None:
            return found


def refusal(response: httpx.Response, status: int = 422) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["detail"])


def test_an_item_that_the_bundle_lacks_is_put_and_shown(client: httpx.Client) -> None:
    first = accepted(client.put("/items/new-1", json=CHAIR))
    assert (first["changed"], first["unchanged"]) == (1, 0)
    told = shown(client, "new-1")
    attributes = {**CHAIR["attributes"], "categories": ["chair", "outdoor"]}  # type: ignore[dict-item]
    assert told["item"] == {
        "item_id": "new-1",
        "title": "Oak chair",
        "category": "chair",
        "attributes": attributes,
        "image": "chair.jpg",
    }
    assert (told["source"], told["trained"], told["state"], told["users"]) == ("stored", False, "waiting", 0)
    stored = told["stored"]
    assert (stored["position"], stored["text"], stored["features"]) == (first["position"], CHAIR["text"], {"text": 2})
    assert stored["created_at"] == stored["updated_at"]


def test_an_identical_item_keeps_its_position_and_another_gets_a_new_one(client: httpx.Client) -> None:
    first = accepted(client.put("/items/new-2", json=CHAIR))
    again = accepted(client.put("/items/new-2", json=CHAIR))
    assert (again["changed"], again["unchanged"], again["position"]) == (0, 1, first["position"])
    created = shown(client, "new-2")["stored"]["created_at"]
    changed = accepted(client.put("/items/new-2", json=CHAIR | {"title": "Elm chair"}))
    assert (changed["changed"], changed["position"]) == (1, first["position"] + 1)
    told = shown(client, "new-2")
    assert (told["item"]["title"], told["stored"]["created_at"]) == ("Elm chair", created)


def test_a_patch_changes_what_it_names_and_null_removes(client: httpx.Client) -> None:
    accepted(client.put("/items/new-3", json=CHAIR))
    patch = {"attributes": {"price": 18.5, "maker": None}, "image": None, "features": {"image": [1], "text": None}}
    accepted(client.patch("/items/new-3", json=patch))
    told = shown(client, "new-3")
    assert told["item"]["attributes"]["price"] == 18.5
    assert "maker" not in told["item"]["attributes"]
    assert told["item"]["attributes"]["colour"] == ["red", "blue"]
    assert (told["item"]["image"], told["item"]["title"]) == (None, "Oak chair")
    assert told["stored"]["features"] == {"image": 1}
    assert accepted(client.patch("/items/new-3", json={"attributes": {"price": 18.5}}))["unchanged"] == 1
    assert "item-none" in refusal(client.patch("/items/item-none", json={"title": "x"}), 404)


def test_a_patch_of_a_trained_item_begins_with_the_bundles_record(client: httpx.Client) -> None:
    before = shown(client, "item-3")
    assert (before["source"], before["stored"], before["trained"]) == ("bundle", None, True)
    accepted(client.patch("/items/item-3", json={"attributes": {"stock": 7}, "available": False}))
    told = shown(client, "item-3")
    assert told["item"]["title"] == before["item"]["title"]
    assert told["item"]["category"] == before["item"]["category"]
    assert told["item"]["attributes"] == {**before["item"]["attributes"], "stock": 7}
    assert (told["state"], told["trained"], told["part_norms"]) == ("unavailable", True, before["part_norms"])


def test_a_deleted_item_is_gone_also_a_trained_one_until_it_is_put_again(client: httpx.Client) -> None:
    accepted(client.put("/items/new-4", json=CHAIR))
    for item_id in ("new-4", "item-4"):
        assert accepted(client.delete(f"/items/{item_id}"))["changed"] == 1
        assert accepted(client.delete(f"/items/{item_id}"))["unchanged"] == 1
        assert client.get(f"/items/{item_id}").json()["error"] == "unknown_item"
        assert refusal(client.patch(f"/items/{item_id}", json={"title": "x"}), 404)
        assert item_id not in {one["item_id"] for one in listed(client, k=100)}
        accepted(client.put(f"/items/{item_id}", json=CHAIR))
        assert shown(client, item_id)["item"]["title"] == "Oak chair"
    assert "to delete" in refusal(client.delete("/items/none"), 404)


@pytest.mark.parametrize("as_lines", [False, True])
def test_several_are_put_at_once_all_or_none(client: httpx.Client, as_lines: bool) -> None:
    def post(items: list[dict[str, Any]]) -> httpx.Response:
        if as_lines:
            body = b"\n".join(map(orjson.dumps, items)) + b"\n\n"
            return client.post("/items", content=body, headers={"Content-Type": "application/x-ndjson; charset=utf-8"})
        return client.post("/items", json=items)

    name = f"bulk-{as_lines}"
    items = [{"item_id": f"{name}-{i}", "title": f"T{i}"} for i in range(250)]
    told = accepted(post(items))
    assert (told["changed"], told["unchanged"]) == (250, 0)
    told = accepted(post([{**items[0], "title": "another"}, *items[1:]]))
    assert (told["changed"], told["unchanged"]) == (1, 249)
    wrong = [{"item_id": f"{name}-x"}, {"item_id": f"{name}-y", "attributes": {"price": "dear"}}]
    assert "item 1: attributes.price: found string, expected number" in refusal(post(wrong))
    assert client.get(f"/items/{name}-x").status_code == 404
    assert "the limit is 300" in refusal(post([{"item_id": f"{i}"} for i in range(301)]))
    assert "appears twice" in refusal(post([{"item_id": "t"}, {"item_id": "t"}]))
    assert post([]).json()["changed"] == 0


def test_a_line_that_is_no_json_is_named(client: httpx.Client) -> None:
    lines = b'{"item_id": "l-1"}\n{"item_id": \n'
    response = client.post("/items", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert "line 2: invalid JSON" in refusal(response)
    assert client.get("/items/l-1").status_code == 404


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"price": "20"}, "attributes.price: found string, expected number"),
        ({"colour": "red"}, "attributes.colour: found string, expected list"),
        ({"since": "yesterday"}, "attributes.since: found string, expected time"),
        ({"new": 1}, "attributes.new: found number, expected boolean"),
        ({"maker": ["us"]}, "attributes.maker: found list, expected string"),
        ({"price": None}, "attributes.price"),
        ({"price": {"eur": 1}}, "attributes.price"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(client: httpx.Client, attributes: Any, said: str) -> None:
    accepted(client.put("/items/typed", json=CHAIR))
    assert said in refusal(client.put("/items/typed", json=CHAIR | {"attributes": attributes}))
    if attributes != {"price": None}:
        assert said in refusal(client.patch("/items/typed", json={"attributes": attributes}))
    assert shown(client, "typed")["item"]["attributes"]["price"] == 20


def test_types_are_those_that_the_bundle_declares_unless_callers_declare_others(tmp_path: Path) -> None:
    publish(tmp_path / "registry", make_content(attribute_types={"material": "string", "price": "number"}))
    with serving(registry=tmp_path / "registry", data=tmp_path / "data") as client:
        assert client.get("/items/schema").json()["attributes"] == {"material": "string", "price": "number"}
        declared = client.put("/items/schema", json={"attributes": {"price": "string"}})
        assert declared.json()["attributes"] == {"material": "string", "price": "string"}


def test_types_are_declared_before_the_first_value_and_corrected_where_no_value_contradicts(
    fresh: httpx.Client,
) -> None:
    assert fresh.get("/items/schema").json()["attributes"] == {}
    declared = fresh.put("/items/schema", json={"attributes": {"code": "string", "size": "number"}})
    assert (declared.status_code, declared.json()["attributes"]) == (202, {"code": "string", "size": "number"})
    accepted(fresh.put("/items/a", json={"attributes": {"code": "2026-01-01"}}))  # a time is text, too
    assert "found string, expected number" in refusal(fresh.put("/items/b", json={"attributes": {"size": "L"}}))
    fresh.put("/items/schema", json={"attributes": {"size": "string"}})
    accepted(fresh.put("/items/b", json={"attributes": {"size": "L"}}))
    said = refusal(fresh.put("/items/schema", json={"attributes": {"size": "number", "more": "list"}}), 409)
    assert "item 'b' has a string, expected number" in said
    assert fresh.get("/items/schema").json()["attributes"] == {"code": "string", "size": "string"}


def test_beyond_the_limit_an_item_that_training_has_not_seen_is_refused_before_anything_is_written(
    fresh: httpx.Client,
) -> None:
    accepted(fresh.post("/items", json=[{"item_id": f"n{i}"} for i in range(4)]))
    refused = fresh.post("/items", json=[{"item_id": "n4"}, {"item_id": "n5"}])
    assert (refused.status_code, refused.json()["error"]) == (507, "too_many_items")
    assert "retrain" in refused.json()["detail"]
    assert fresh.get("/items/n4").status_code == 404
    accepted(fresh.put("/items/n4", json={}))
    accepted(fresh.put("/items/item-1", json={}))  # trained
    accepted(fresh.put("/items/n4", json={"title": "changed"}))
    assert fresh.put("/items/n5", json={}).status_code == 507
    accepted(fresh.delete("/items/n0"))
    accepted(fresh.put("/items/n5", json={}))


def test_the_catalogue_is_paged_through_whole_by_cursor_and_by_offset(fresh: httpx.Client) -> None:
    for item_id in ("item-7", "z", "a"):
        accepted(fresh.put(f"/items/{item_id}", json={"title": f"Put {item_id}", "categories": ["put"]}))
    accepted(fresh.delete("/items/item-8"))
    fresh.put("/items/item-9/hidden")
    found = listed(fresh, k=7)
    by_id = {one["item_id"]: one for one in found}
    assert len(found) == len(by_id) == 40 + 2 - 1
    assert [one["item_id"] for one in found][-3:] == ["item-7", "z", "a"]
    told = {item_id: [by_id[item_id][name] for name in ("trained", "stored", "state")] for item_id in by_id}
    assert told["item-0"] == [True, False, "listed"]
    assert told["item-7"] == [True, True, "listed"]
    assert told["item-9"] == [True, False, "hidden"]
    assert told["z"] == [False, True, "waiting"]
    offset = fresh.get("/items", params={"k": 10, "offset": 35}).json()
    assert [one["item_id"] for one in offset["items"]] == [one["item_id"] for one in found[35:]]


def test_the_catalogue_is_searched_by_title_category_and_attributes(fresh: httpx.Client) -> None:
    fresh.put("/items/ä", json={"title": "ÄRMEL", "categories": ["put"], "attributes": {"n": 3, "tags": ["x", "y"]}})
    fresh.patch("/items/item-1", json={"title": "Ärger"})
    assert [one["item_id"] for one in listed(fresh, title="är")] == ["ä", "item-1"]
    assert [one["item_id"] for one in listed(fresh, category="put")] == ["ä"]
    assert [one["item_id"] for one in listed(fresh, require="tags:y")] == ["ä"]
    assert [one["item_id"] for one in listed(fresh, require=["n:3", "tags:z"])] == []
    title = shown(fresh, "item-2")["item"]["title"]
    assert "item-2" in {one["item_id"] for one in listed(fresh, title=title.upper(), k=3)}
    oak = {one["item_id"] for one in listed(fresh, require="material:oak")}
    assert oak == {one["item_id"] for one in listed(fresh) if one["attributes"].get("material") == "oak"}
    assert len(listed(fresh, require="material:oak", exclude=sorted(oak)[0])) == len(oak) - 1
    assert "no item can be chosen by" in refusal(fresh.get("/items", params={"require": "colour:red"}))
    assert "after" in refusal(fresh.get("/items", params={"after": "x9"}))


def test_words_are_found_anywhere_in_title_or_id_of_trained_and_stored_items(fresh: httpx.Client) -> None:
    fresh.put("/items/sofa-77", json={"title": "Große graue Couch"})
    fresh.patch("/items/item-1", json={"title": "Couch, GRAU"})
    assert [one["item_id"] for one in listed(fresh, q="couch grau")] == ["sofa-77", "item-1"]
    assert [one["item_id"] for one in listed(fresh, q="GROSSE  77")] == ["sofa-77"]  # one word of each
    title = shown(fresh, "item-2")["item"]["title"]
    assert "item-2" in {one["item_id"] for one in listed(fresh, q=title[1:], k=3)}
    assert [one["item_id"] for one in listed(fresh, q="ITEM-22")] == ["item-22"]
    assert listed(fresh, q="couch chair") == []
    assert len(listed(fresh, q=" ")) == len(listed(fresh))
    assert "q" in refusal(fresh.get("/items", params={"q": "x" * 257}))


def test_who_had_an_item_is_listed_page_by_page_without_forgotten_people(fresh: httpx.Client, bundle: Bundle) -> None:
    everyone = [bundle.user_ids[row] for row in bundle.users_of(3)]

    def page(**query: int) -> dict[str, Any]:
        told = fresh.get("/items/item-3/users", params=query).json()
        ItemUsersAnswer.model_validate(told)
        return dict(told)

    assert page(k=100)["user_ids"] == everyone
    assert page(k=2, offset=1)["user_ids"] == everyone[1:3]
    assert page(offset=len(everyone))["user_ids"] == []
    assert page(k=1)["users"] == shown(fresh, "item-3")["users"] == len(everyone)

    assert fresh.delete(f"/users/{everyone[0]}").status_code == 200
    assert page(k=2)["user_ids"] == everyone[1:2]


def test_nobody_had_an_item_that_training_has_not_seen(fresh: httpx.Client) -> None:
    fresh.put("/items/new", json={"title": "New"})
    told = fresh.get("/items/new/users").json()
    assert (told["users"], told["user_ids"]) == (0, [])
    assert "item-none" in refusal(fresh.get("/items/item-none/users"), 404)


def test_the_catalogue_takes_the_filter_language_and_fields_for_trained_and_stored_items(fresh: httpx.Client) -> None:
    for i in range(4):
        item = {"attributes": {"price": 10 * i, "day": f"2026-11-0{i + 1}"}, "available": i != 2, "image": "a.jpg"}
        accepted(fresh.put(f"/items/n{i}", json=item))
    found = listed(fresh, filter="price >= 10 and day < '2026-11-04'", fields="price")
    assert [(one["item_id"], one["attributes"]) for one in found] == [("n1", {"price": 10}), ("n2", {"price": 20})]
    assert "title" not in found[0]
    assert [one["item_id"] for one in listed(fresh, filter="price > 0 and available = true")] == ["n1", "n3"]
    oak = listed(fresh, filter="material = 'oak'", k=50)
    assert {one["item_id"] for one in oak} == {one["item_id"] for one in listed(fresh, require="material:oak")}
    answer = fresh.get("/items", params={"filter": "materiel = 'oak'"}).json()
    assert answer["items"] == []
    assert "material" in answer["warnings"][0]
    assert "filter" in refusal(fresh.get("/items", params={"filter": "price >"}))


@pytest.mark.parametrize("item_id", ["schem%61", "a%2Fb", "%2E%2E", "nul%00", "%F0%9F%AA%91", "hidden"])
def test_an_id_of_any_shape_is_put_found_and_deleted(client: httpx.Client, item_id: str) -> None:
    accepted(client.put(f"/items/{item_id}", json={"title": item_id}))
    assert shown(client, item_id)["item"]["title"] == item_id
    accepted(client.delete(f"/items/{item_id}"))
    assert client.get(f"/items/{item_id}").status_code == 404


def test_readiness_and_metrics_tell_of_the_store(client: httpx.Client) -> None:
    assert client.get("/readyz").json()["items"] == "accepted"
    text = client.get("/metrics").text
    for name in ("items_stored", "items_untrained", "items_waiting", 'item_changes_total{kind="put"}'):
        assert f"reco_{name}" in text


@pytest.mark.parametrize(
    "body",
    [
        {"title": 3},
        {"attributes": {"": 1}},
        {"attributes": {f"a{i}": i for i in range(65)}},
        {"attributes": {"a": [1, 2]}},
        {"attributes": {"a": ["x"] * 65}},
        {"features": {"text": []}},
        {"features": {"smell": [1]}},
        {"features": {"text": ["1"]}},
        {"created_at": -1},
        {"unknown": 1},
        [],
        "x",
        None,
    ],
    ids=lambda body: json.dumps(body)[:30],
)
def test_a_body_that_is_no_item_is_refused_in_words(client: httpx.Client, body: Any) -> None:
    assert refusal(client.put("/items/wrong", json=body)).startswith("body: ")
    assert client.get("/items/wrong").status_code == 404


lines = st.lists(
    st.binary(max_size=20)
    | st.sampled_from([b'{"item_id":"x"}', b"{}", b"[]", b"null", b"", b"\r", b'{"item_id":"x","title":3}', b"1],[2"]),
    max_size=5,
)


@given(lines)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lines_are_sent_they_are_taken_or_refused_in_words(client: httpx.Client, lines: list[bytes]) -> None:
    response = client.post("/items", content=b"\n".join(lines), headers={"Content-Type": "application/x-ndjson"})
    if response.status_code != 202:
        assert refusal(response).startswith("body: ")


def test_features_may_be_as_wide_as_those_of_large_encoders(client: httpx.Client) -> None:
    accepted(client.put("/items/wide", json={"features": {"multimodal": [0.25] * 16_384}}))
    assert "16385 entries, the limit is 16384" in refusal(
        client.put("/items/wide", json={"features": {"text": [0.25] * 16_385}})
    )


def test_who_may_only_read_changes_nothing(registry: Path, tmp_path: Path) -> None:

    key, line = new_key("reader", "read")
    (tmp_path / "keys.jsonl").write_text(line)
    with serving(registry=registry, data=tmp_path, api_keys_file=tmp_path / "keys.jsonl") as client:
        client.headers["X-API-Key"] = key
        assert client.get("/items").status_code == 200
        for method, path in [("PUT", "/items/a"), ("PATCH", "/items/a"), ("DELETE", "/items/a"), ("POST", "/items")]:
            assert client.request(method, path).status_code == 403
        assert client.put("/items/schema").status_code == 403


def test_while_redis_is_away_trained_items_are_shown_and_no_change_is_taken(
    registry: Path, tmp_path: Path, valkey: Valkey
) -> None:
    where = {"redis_url": valkey.url, "event_log": "redis", "event_log_safe": False, "event_log_timeout_s": 0.5}
    with serving(registry=registry, data=tmp_path, **where) as client:
        accepted(client.put("/items/new", json=CHAIR))
        valkey.kill()
        assert client.get("/items/item-1").status_code == 200
        refused = client.put("/items/new", json=CHAIR)
        assert (refused.status_code, refused.json()["error"]) == (503, "item_store_unavailable")
        assert client.get("/items/new").status_code == 503
        assert client.get("/recommend/user-1").status_code == 200
