"""GET /map gives the places of items: thinned by a stable rule, without hidden ones, and says where there is no map."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import CATEGORIES, make_content, make_map
from servers import publish, serving

from index.registry import Registry
from service.catalogue.catalogue_map import thinning_order
from service.http.responses import MapAnswer

MAP = make_map()


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    registry = tmp_path_factory.mktemp("registry")
    publish(registry, make_content(map=MAP))
    with serving(registry=registry, entries_max=5) as client:
        yield client


def shown(client: httpx.Client, **query: Any) -> dict[str, Any]:
    response = client.get("/map", params=query)
    assert response.status_code == 200, response.text
    MapAnswer.model_validate(response.json())
    return response.json()["map"]  # type: ignore[no-any-return]


def test_every_item_has_its_place_and_its_category(mapped: httpx.Client) -> None:
    found = shown(mapped)
    assert (found["by"], found["total"], found["method"]) == ("category", 40, "random")
    assert {group["name"] for group in found["groups"]} == set(CATEGORIES)
    columns = zip(found["item_ids"], found["x"], found["y"], found["group"], strict=True)
    for item_id, x, y, group in columns:
        row = int(item_id.removeprefix("item-"))
        assert [x, y] == pytest.approx(MAP.positions[row].tolist(), abs=0.00006)
        assert found["groups"][group]["name"] == CATEGORIES[row % 4]
    assert len(set(found["item_ids"])) == 40


def test_groups_may_be_clusters_named_by_the_category_of_most_of_their_items(mapped: httpx.Client) -> None:
    groups = shown(mapped, by="cluster")["groups"]
    assert [group["items"] for group in groups] == [10] * 4
    assert sorted(group["name"] for group in groups)[0] == "cluster 1, mostly chair"


def test_fewer_items_are_the_first_of_more(mapped: httpx.Client) -> None:
    assert shown(mapped, k=7)["item_ids"] == shown(mapped, k=30)["item_ids"][:7]


def test_items_asked_for_are_there_beside_the_k_and_unknown_ones_are_named(mapped: httpx.Client) -> None:
    last = shown(mapped)["item_ids"][-1]
    found = shown(mapped, k=1, item_id=[last, "nothing"])
    assert found["item_ids"][1:] == [last]
    assert found["unplaced"] == ["nothing"]


def test_a_hidden_item_is_nowhere_until_it_is_shown_again(mapped: httpx.Client) -> None:
    before = shown(mapped)
    mapped.put("/items/item-3/hidden")
    try:
        during = shown(mapped, item_id="item-3")
        assert set(before["item_ids"]) - set(during["item_ids"]) == {"item-3"}
        assert (during["total"], during["unplaced"]) == (39, ["item-3"])
    finally:
        mapped.delete("/items/item-3/hidden")
    assert shown(mapped) == before


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"k": 50_001}, "k: "),
        ({"by": "colour"}, "by: "),
        ({"item_id": ["x"] * 6}, "item_id: "),
        ({"user": "u"}, "user"),
    ],
)
def test_a_wrong_query_is_refused_by_name(mapped: httpx.Client, query: dict[str, Any], named: str) -> None:
    response = mapped.get("/map", params=query)
    assert response.status_code == 422
    assert named in response.json()["detail"]


def test_a_bundle_without_a_map_says_so_and_how_to_get_one(client: httpx.Client) -> None:
    response = client.get("/map")
    assert (response.status_code, response.json()["error"]) == (404, "no_map")
    assert "has no map: it was exported with --no-map; export or retrain" in response.json()["detail"]


def test_a_bundle_of_an_earlier_format_says_that_it_is_too_old(tmp_path: Path) -> None:
    old = next((Path(__file__).parents[3] / "index" / "bundle_of_format_4").iterdir())
    shutil.copytree(old, tmp_path / old.name)
    Registry(tmp_path).publish(old.name)
    with serving(registry=tmp_path) as client:
        assert "exported in format 4, before bundles had maps" in client.get("/map").json()["detail"]


def test_a_larger_map_costs_more(tmp_path: Path) -> None:
    publish(tmp_path, make_content(n_items=1_200, map=make_map(1_200)))
    with serving(registry=tmp_path, request_cost_max=2) as client:
        assert client.get("/map", params={"k": 400}).status_code == 200
        refused = client.get("/map")
    assert (refused.status_code, refused.json()["error"]) == (422, "too_costly")


def test_thinning_takes_the_same_share_everywhere_and_keeps_what_is_popular() -> None:
    crowd, few = np.full((900, 2), 0.1, np.float32), np.full((100, 2), 0.9, np.float32)
    popularity = np.random.default_rng(0).permutation(1_000)
    first = thinning_order(np.concatenate([crowd, few]), popularity)[:200]
    assert (first < 900).sum() == pytest.approx(180, abs=1)
    kept, left = popularity[first[first < 900]], np.setdiff1d(popularity[:900], popularity[first])
    assert kept.min() > left.max()
