from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import make_content
from servers import publish, serving

from index.bundle import Bundle
from index.ranking import unit_rows
from service.schemas import ItemAnswer, PopularAnswer, SimilarAnswer


def ask(client: httpx.Client, item_id: str, **query: Any) -> dict[str, Any]:
    response = client.get(f"/similar/{item_id}", params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    SimilarAnswer.model_validate(answer)
    return answer


def space(bundle: Bundle, by: str) -> np.ndarray:
    named = {"fused": bundle.item_embeddings, "id": bundle.item_parts["id"], **bundle.neighbours}
    return unit_rows(named[by])


@pytest.mark.parametrize("by", ["fused", "id", "text", "image", "multimodal"])
def test_neighbours_are_those_of_the_highest_cosine_in_the_space_asked_for(
    client: httpx.Client, bundle: Bundle, by: str
) -> None:
    answer = ask(client, "item-7", k=6, by=by)
    vectors = space(bundle, by)
    cosines = vectors @ vectors[7]
    cosines[7] = -np.inf
    order = np.argsort(-cosines)[:6]
    assert [item["item_id"] for item in answer["items"]] == [f"item-{row}" for row in order]
    assert [item["score"] for item in answer["items"]] == pytest.approx(cosines[order], abs=1e-5)
    assert (answer["by"], answer["source"], answer["item_id"]) == (by, by, "item-7")


def test_an_item_is_not_its_own_neighbour(client: httpx.Client) -> None:
    items = ask(client, "item-7", k=100)["items"]
    assert len(items) == 39
    assert "item-7" not in {item["item_id"] for item in items}


def test_explained_neighbours_carry_the_cosine_in_every_space_and_the_users_of_both(
    client: httpx.Client, bundle: Bundle
) -> None:
    for item in ask(client, "item-7", k=39, explain=True)["items"]:
        row = bundle.item_ids.row(item["item_id"])
        assert row is not None
        both = set(bundle.users_of(7).tolist()) & set(bundle.users_of(row).tolist())
        assert item["explanation"]["users_in_common"] == len(both)
        for by, cosine in item["explanation"]["cosines"].items():
            assert cosine == pytest.approx(float(space(bundle, by)[row] @ space(bundle, by)[7]), abs=1e-5)
        assert item["explanation"]["cosines"]["fused"] == pytest.approx(item["score"], abs=1e-5)


def test_a_space_that_the_bundle_lacks_is_refused_with_those_it_has(tmp_path: Path) -> None:
    content = make_content()
    publish(tmp_path, make_content(neighbours={"text": content.neighbours["text"]}))
    with serving(registry=tmp_path) as client:
        response = client.get("/similar/item-1?by=image")
    assert response.status_code == 422
    assert response.json()["detail"] == "by: this bundle has fused, text, id, found 'image'"


def test_an_item_without_features_is_near_nothing_and_costs_no_error(tmp_path: Path) -> None:
    content = make_content()
    content.neighbours["text"][3] = 0
    publish(tmp_path, content)
    with serving(registry=tmp_path) as client:
        items = ask(client, "item-3", by="text", k=3, explain=True)["items"]
    assert [item["score"] for item in items] == [0, 0, 0]


@pytest.mark.parametrize("path", ["/similar/item-40", "/items/item-40"])
def test_an_unknown_item_is_not_found(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.json()["error"] == "unknown_item"
    assert response.json()["detail"] == "item_id: this bundle has no item 'item-40'"


def test_an_item_tells_all_that_the_bundle_knows(client: httpx.Client, bundle: Bundle) -> None:
    answer = client.get("/items/item-7").json()
    ItemAnswer.model_validate(answer)
    assert answer["item"] == {"item_id": "item-7", **bundle.item(7)}
    assert answer["users"] == len(bundle.users_of(7))
    assert answer["part_norms"]["text"] == pytest.approx(np.linalg.norm(bundle.item_parts["text"][7]), rel=1e-5)


def test_popular_items_are_ordered_by_their_trend(client: httpx.Client, bundle: Bundle) -> None:
    answer = client.get("/popular?k=4").json()
    PopularAnswer.model_validate(answer)
    order = np.argsort(-bundle.popularity_trend, kind="stable")[:4]
    assert [item["item_id"] for item in answer["items"]] == [f"item-{row}" for row in order]
    assert [item["users"] for item in answer["items"]] == bundle.popularity_count[order].tolist()


def test_without_times_popular_items_are_ordered_by_count(tmp_path: Path) -> None:
    bundle = publish(tmp_path, make_content(popularity_trend=np.zeros(40, np.float32)))
    with serving(registry=tmp_path) as client:
        answer = client.get("/popular?k=4").json()
    assert [item["score"] for item in answer["items"]] == sorted(bundle.popularity_count.tolist())[:-5:-1]
