from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import make_content
from servers import publish, serving

from index.bundle import Bundle
from index.ranking import unit_rows
from service.http.responses import ItemAnswer, PopularAnswer, SimilarAnswer


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


def test_an_item_of_which_a_space_knows_nothing_is_near_nothing_there_and_near_no_other(tmp_path: Path) -> None:
    content = make_content()
    content.neighbours["text"][3] = 0
    publish(tmp_path, content)
    with serving(registry=tmp_path) as client:
        alone = ask(client, "item-3", by="text", k=3, explain=True)
        others = ask(client, "item-4", by="text", k=100)["items"]
        assert ask(client, "item-3", by="image", k=3)["missing"] == 0
    assert (alone["items"], alone["missing"]) == ([], 3)
    assert alone["reason"] == "this item has no vector in the space text"
    assert len(others) == 38
    assert "item-3" not in {item["item_id"] for item in others}


def of(bundle: Bundle, name: str, value: str) -> set[str]:
    """The items of a category, or with a material."""
    known = {bundle.item_ids[row]: bundle.item(row) for row in range(len(bundle.item_ids))}
    return {one for one, item in known.items() if value in (item.get(name), item["attributes"].get(name))}


@pytest.mark.parametrize("by", ["fused", "text"])
def test_neighbours_can_be_filtered_and_paged_and_those_that_a_user_had_left_out(
    client: httpx.Client, bundle: Bundle, by: str
) -> None:
    everything = [item["item_id"] for item in ask(client, "item-7", k=40, by=by)["items"]]
    seen = {bundle.item_ids[row] for row in bundle.seen(3)}
    wanted = (of(bundle, "category", "lamp") | of(bundle, "category", "rug")) & of(bundle, "material", "oak")
    left = [item for item in everything if item in wanted and item not in {*seen, "item-9"}]
    query = {
        "by": by,
        "user_id": "user-3",
        "category": ["lamp", "rug"],
        "require": "material:oak",
        "exclude": ["item-9", "no-such-item"],
    }
    first, second = ask(client, "item-7", k=3, **query), ask(client, "item-7", k=40, offset=3, **query)
    assert [item["item_id"] for item in first["items"] + second["items"]] == left
    assert [item["rank"] for item in second["items"]] == list(range(4, len(left) + 1))
    assert second["missing"] == 40 - (len(left) - 3)


def test_an_unknown_user_has_no_items_to_leave_out(client: httpx.Client) -> None:
    assert ask(client, "item-7", user_id="nobody")["items"] == ask(client, "item-7")["items"]
    assert client.get("/similar/item-7", params={"user_id": "x" * 513}).status_code == 422


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
