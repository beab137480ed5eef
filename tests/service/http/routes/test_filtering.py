"""The filter language over HTTP: every list takes it, tells what is misspelt, and is exact with any index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import make_content
from servers import CREATED, publish, serving

from index.bundle import Bundle, open_bundle, write_bundle
from index.registry import Registry
from service.client import Client, InvalidRequest

N = 400
COLOURS = ("red", "blue", "green", "grey")
FILTER = "price < 200 and available = true and not tags contains sale"


def item(row: int) -> dict[str, Any]:
    return {
        "title": f"{COLOURS[row % 4]} thing no. {row}",
        "category": f"c{row % 10}",
        "attributes": {
            "price": row,
            "available": row % 3 > 0,
            "tags": ["sale"] if row % 5 == 0 else ["new", f"t{row % 7}"],
            "colour": COLOURS[row % 4],
        },
        "image": None,
    }


def content() -> Any:
    return make_content(n_items=N, items=[item(row) for row in range(N)])


MATCHING = {f"item-{row}" for row in range(200) if row % 3 and row % 5}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish(tmp_path_factory.mktemp("filters"), content())


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[httpx.Client]:
    with serving(registry=bundle.path.parent) as client:
        yield client


def lists(client: httpx.Client, chosen: str, k: int = 200) -> dict[str, dict[str, Any]]:
    """Every list with the filter, by its route."""
    query, body = {"filter": chosen, "k": k}, {"filter": chosen, "k": k}
    ids = [f"item-{row}" for row in range(100)]
    responses = {
        "recommend": client.get("/recommend/user-1", params=query),
        "unknown": client.get("/recommend/who", params=query),
        "similar": client.get("/similar/item-1", params=query),
        "id": client.get("/similar/item-1", params={**query, "by": "id"}),
        "popular": client.get("/popular", params=query),
        "trending": client.get("/trending", params=query),
        "session": client.post("/recommend", json={"items": [{"item_id": "item-3"}], **body}),
        "batch": client.post("/recommend/batch", json={"user_ids": ["user-1", "who"], **body}),
        "rank": client.post("/rank", json={"candidates": ids, "user_id": "user-1", "filter": chosen}),
        "items": client.get("/items", params=query),
    }
    for name, response in responses.items():
        assert response.status_code == 200, f"{name}: {response.text}"
    return {name: response.json() for name, response in responses.items()}


def shown(answer: dict[str, Any]) -> list[str]:
    answers = answer.get("answers", [answer])
    return [one["item_id"] for part in answers for one in part["items"]]


def test_every_list_shows_the_matching_items_and_no_others(client: httpx.Client, bundle: Bundle) -> None:
    answers = lists(client, FILTER)
    for name, answer in answers.items():
        assert set(shown(answer)) <= MATCHING, name
        assert "warnings" not in answer
    for name in ("unknown", "popular", "trending", "items"):
        assert set(shown(answers[name])) == MATCHING, name
    seen = {f"item-{row}" for row in bundle.seen(1)}
    assert set(shown(answers["recommend"])) == MATCHING - seen
    assert set(shown(answers["similar"])) == set(shown(answers["id"])) == MATCHING - {"item-1"}
    assert answers["recommend"]["missing"] == 200 - len(MATCHING - seen)


def test_every_list_tells_what_is_misspelt_and_is_empty_instead_of_refused(client: httpx.Client) -> None:
    for name, answer in lists(client, "color = red or colour = rde").items():
        assert shown(answer) == [], name
        assert answer["warnings"] == [
            "no item has the attribute color; did you mean 'colour'?",
            "no item has colour 'rde'; did you mean 'red'?",
        ], name


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("price = cheap", 'filter: price holds numbers, found text "cheap"'),
        ("price ==", "filter: at character 8 found '=', expected a value; equality is ="),
        ("a" * 4_001, "filter: string should have at most 4000 characters"),
    ],
)
def test_a_wrong_filter_is_refused_by_every_list(client: httpx.Client, chosen: str, told: str) -> None:
    for path in ("/recommend/user-1", "/similar/item-1", "/popular", "/trending", "/items"):
        response = client.get(path, params={"filter": chosen})
        assert (response.status_code, response.json()["error"]) == (422, "invalid_request"), path
        assert told in response.json()["detail"]
    for path, body in (
        ("/recommend", {}), ("/recommend/batch", {"user_ids": ["user-1"]}), ("/rank", {"candidates": ["item-1"]})
    ):  # fmt: skip
        response = client.post(path, json={**body, "filter": chosen})
        assert response.status_code == 422, path
        assert told in response.json()["detail"]


def test_filter_and_the_older_parameters_hold_together(client: httpx.Client) -> None:
    query = {"filter": "price < 100", "category": "c1", "require": "colour:blue", "exclude": "item-1", "k": 50}
    found = shown(client.get("/popular", params=query).json())
    assert set(found) == {f"item-{row}" for row in range(2, 100) if row % 10 == 1 and row % 4 == 1}
    refused = client.get("/popular", params={"require": "color:blue"})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")


def test_items_that_are_put_are_found_by_their_attributes_whatever_their_state(tmp_path: Path) -> None:
    publish(tmp_path / "registry", make_content(items=[{**item(row), "title": ""} for row in range(40)]))
    with serving(registry=tmp_path / "registry", data=tmp_path / "data") as client:

        def found(chosen: str) -> set[str]:
            return set(shown(client.get("/items", params={"filter": chosen, "k": 100}).json()))

        for item_id, given in (
            ("new", {"title": "Blue lamp", "attributes": {"price": 5.5, "stock": 3}, "categories": ["c1", "c2"]}),
            ("item-3", {"attributes": {"price": 5.5}}),
            ("gone", {"attributes": {"price": 5.5}}),
        ):
            assert client.put(f"/items/{item_id}", json=given).status_code in (200, 202)
        client.delete("/items/gone")
        client.patch("/items/item-3", json={"available": False})
        assert found("price = 5.5") == {"new", "item-3"}
        assert found("price > 5 and price < 7") == {"new", "item-3", "item-6"}
        assert found("category = c2 and price < 6") == {"new", "item-2"}
        assert found("title contains LAMP and stock >= 3") == {"new"}
        assert "item-3" in found("available = false")
        assert found("created_at > now - 1h") >= {"new", "item-3"}


def test_a_filter_by_now_is_evaluated_again_in_another_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{**item(row), "attributes": {"at": f"2026-01-01T00:0{row}:30Z"}} for row in range(8)]
    publish(tmp_path, make_content(n_items=8, items=items))
    start = 1_767_225_600.0  # 2026-01-01
    clock = {"now": start + 200}
    monkeypatch.setattr("service.live.LiveUpdates.now", lambda self: clock["now"])
    with serving(registry=tmp_path) as client:

        def count() -> int:
            return len(client.get("/popular", params={"filter": "at > now", "k": 8}).json()["items"])

        assert count() == 5
        clock["now"] += 30
        assert count() == 5
        clock["now"] += 60
        assert count() == 4


def test_terms_of_a_filter_are_part_of_the_cost(bundle: Bundle) -> None:
    with serving(registry=bundle.path.parent, request_cost_max=2) as client:
        many = "price in [" + ", ".join(map(str, range(100))) + "]"
        assert client.get("/popular", params={"filter": many}).json()["error"] == "too_costly"
        assert client.get("/popular", params={"filter": "price in [1, 2, 3]"}).status_code == 200


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat"])
def test_a_filtered_list_is_the_best_of_what_matches_with_any_index(tmp_path: Path, factory: str) -> None:
    """Half of the catalogue, a hundredth, and a single item; k items where so many match."""
    n = 10_000
    rng = np.random.default_rng(0)
    prices = rng.permutation(n)
    items = [{**item(row), "attributes": {"price": int(prices[row])}} for row in range(n)]
    found = make_content(n_users=4, n_items=n, items=items)
    path = write_bundle(tmp_path, found, created_at=CREATED, factory=factory)
    Registry(tmp_path).publish(path.name)
    bundle = open_bundle(path)
    with serving(registry=tmp_path) as client:
        for share in (0.5, 0.01, 0.0001):
            rows = np.flatnonzero(prices < share * n)
            for user in range(3):
                answer = client.get(
                    f"/recommend/user-{user}", params={"filter": f"price < {share * n}", "k": 20}
                ).json()
                allowed = np.setdiff1d(rows, bundle.seen(user))
                scores = bundle.item_embeddings[allowed] @ bundle.user_embeddings[user]
                best = allowed[np.lexsort((allowed, -scores))[:20]]
                assert shown(answer) == [f"item-{row}" for row in best]
                assert answer["missing"] == 20 - len(best)


def test_the_client_takes_a_filter_for_every_list(client: httpx.Client) -> None:
    with Client(str(client.base_url)) as ours:
        assert {one.item_id for one in ours.popular(filter=FILTER, k=200).items} == MATCHING
        assert {one.item_id for one in ours.recommend("user-1", filter=FILTER, k=200).items} <= MATCHING
        assert {one.item_id for one in ours.similar("item-1", filter=FILTER, k=200).items} <= MATCHING
        assert {one.item_id for one in ours.trending(filter=FILTER, k=200).items} == MATCHING
        answers = ours.recommend_batch(["user-1"], filter=FILTER, k=200).answers
        assert {one.item_id for one in answers[0].items or ()} <= MATCHING
        told = ours.recommend_session(["item-1"], filter="colour = gray")
        assert told.warnings == ["no item has colour 'gray'; did you mean 'grey'?"]
        with pytest.raises(InvalidRequest, match="price holds numbers"):
            ours.popular(filter="price = cheap")
