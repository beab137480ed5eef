"""Items that are put over HTTP are in lists, explained, filtered, swapped and hidden like any other."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from asking import ids, post
from bundles import make_features, make_living_content
from duos import two_workers
from servers import counted, publish, serving, wait_until

from index.bundle import Bundle
from index.content_path import ContentPath

USER = 3


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def bundle(registry: Path) -> Bundle:
    return publish(registry, make_living_content())


@pytest.fixture(scope="module")
def client(registry: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("data")
    with serving(registry=registry, data=data, live_poll_s=0.1, bundle_poll_s=0.05) as client:
        yield client


def liked_by(bundle: Bundle, user_row: int, nth: int = 0) -> dict[str, list[float]]:
    """Features of an item that the user likes better than nearly all others."""
    some = make_features(300, seed=user_row)
    scores = ContentPath.of(bundle).rows(some).embeddings @ bundle.user_embeddings[user_row]
    return some[int(np.argsort(-scores)[nth])]


def put(client: httpx.Client, item_id: str, **fields: Any) -> None:
    response = client.put(f"/items/{item_id}", json=fields)
    assert response.status_code == 202, response.text


def listed(client: httpx.Client, **query: Any) -> list[str]:
    return ids(client.get(f"/recommend/user-{USER}", params={"k": 5, **query}).json())


def test_an_item_that_is_put_is_recommended_and_explained_and_new(client, bundle):
    put(client, "mint-lamp", title="Mint lamp", categories=["lamp"], features=liked_by(bundle, USER))
    wait_until(lambda: "mint-lamp" in listed(client))
    answer = client.get(f"/recommend/user-{USER}?k=5&explain=true&counterfactual=true").json()
    (shown,) = [item for item in answer["items"] if item["item_id"] == "mint-lamp"]
    told = shown["explanation"]
    assert sum(told["parts"].values()) == pytest.approx(shown["score"], abs=1e-4)
    assert told["parts"]["id"] == 0
    assert "; new: no user has had it yet; " in told["sentence"]
    item = client.get("/items/mint-lamp").json()
    assert (item["trained"], item["users"], item["item"]["title"]) == (False, 0, "Mint lamp")
    assert item["part_norms"]["text"] > 0
    assert client.get("/items/item-1").json()["trained"]
    similar = client.get("/similar/mint-lamp?by=image&k=3&explain=true").json()
    assert len(similar["items"]) == 3
    assert {one["explanation"]["users_in_common"] for one in similar["items"]} == {0}
    nearest = similar["items"][0]["item_id"]
    assert "mint-lamp" in ids(client.get(f"/similar/{nearest}?by=image&k=40").json())


def test_sessions_and_events_with_a_new_item_count_at_once(client, bundle):
    put(client, "sofa", title="Sofa", features=make_features(1, seed=8)[0])
    wait_until(lambda: post(client, items=[{"item_id": "sofa"}])["unknown_items"] == [])
    session = post(client, items=[{"item_id": "sofa"}], k=40, explain=True)
    assert session["source"] == "session"
    assert "sofa" not in ids(session)
    assert "because you looked at Sofa" in session["items"][0]["explanation"]["sentence"].lower().replace(
        "sofa", "Sofa"
    )
    client.post("/events", json={"user_id": "ann", "item_id": "not-yet", "kind": "purchase"}).raise_for_status()
    assert client.get("/recommend/ann").json()["source"] == "popular"
    put(client, "not-yet", title="Late", features=make_features(1, seed=9)[0])
    wait_until(lambda: client.get("/recommend/ann").json()["source"] == "fold_in")


def test_rules_and_filters_see_a_new_item_at_once(client, bundle):
    features = make_features(1, seed=10)[0]
    put(client, "rare", title="Rare", categories=["rug"], attributes={"finish": "matt", "price": 7}, features=features)
    pin = {"pin": [{"item_id": "rare", "position": 2}]}
    wait_until(lambda: ids(post(client, user_id="user-3", k=3, rules=pin))[1] == "rare")
    assert listed(client, require="finish:matt") == ["rare"]
    assert listed(client, filter="finish = 'matt' and price < 8 and created_at > now - 1d") == ["rare"]
    assert listed(client, filter="finish = 'matt' and price > 8") == []
    block = {"block": [{"attribute": "finish", "value": "matt"}]}
    assert "rare" not in ids(post(client, user_id="user-3", k=60, rules=block))
    boost = {"boost": [{"item_id": "rare", "by": 100}]}
    assert ids(post(client, user_id="user-3", k=3, rules=boost))[0] == "rare"


def test_changed_records_of_trained_items_are_shown_and_filtered_at_once(client):
    put(client, "item-2", title="Renamed", categories=["brand new"])
    wait_until(lambda: client.get("/items/item-2").json()["item"]["title"] == "Renamed")
    wait_until(lambda: listed(client, category="brand new", exclude_seen=False) == ["item-2"])


def test_deleted_unavailable_and_hidden_items_leave_every_list(client, bundle):
    for n, item_id in enumerate(("gone", "sold-out", "secret")):
        put(client, item_id, title=item_id, features=liked_by(bundle, USER, n + 1))
    wait_until(lambda: {"gone", "sold-out", "secret"} <= set(listed(client, k=20)))
    assert client.delete("/items/gone").status_code == 202
    put(client, "sold-out", available=False, features=liked_by(bundle, USER, 2))
    assert client.put("/items/secret/hidden").status_code == 200
    wait_until(lambda: {"gone", "sold-out", "secret"}.isdisjoint(listed(client, k=60)))
    assert {"gone", "sold-out", "secret"}.isdisjoint(ids(client.get("/popular?k=60").json()))
    put(client, "sold-out", title="back", features=liked_by(bundle, USER, 2))
    wait_until(lambda: "sold-out" in listed(client, k=20))


def test_features_of_another_width_are_refused_with_both_widths(client):
    response = client.put("/items/narrow", json={"features": {"text": [0.5, 0.5]}})
    assert response.status_code == 422
    assert "features.text has 2 numbers; expected 5" in response.json()["detail"]
    assert client.get("/items/narrow").status_code == 404


def test_an_item_without_features_is_stored_and_says_why_it_is_in_no_list(client):
    put(client, "plain", title="Plain")
    wait_until(lambda: client.get("/items/plain").json().get("reason"))
    assert "no features of text or image" in client.get("/items/plain").json()["reason"]
    similar = client.get("/similar/plain")
    assert (similar.status_code, "is in no list: it has no features" in similar.json()["detail"]) == (404, True)


def test_after_a_swap_new_items_are_embedded_by_the_new_bundle_and_shown_once(client, bundle, registry):
    second = make_living_content(seed=5, n_items=41)
    put(client, "item-40", title="Trained by then", features=make_features(1, seed=1)[0])
    put(client, "stays", title="Stays", features=make_features(1, seed=2)[0])
    for item_id in ("item-40", "stays"):
        wait_until(lambda item_id=item_id: client.get(f"/items/{item_id}").json()["state"] == "listed")
    written = publish(registry, second)
    wait_until(lambda: client.get("/readyz").json()["bundle"] == written.bundle_id)
    everything = listed(client, k=60, exclude_seen=False)
    assert len(set(everything)) == len(everything)
    assert {"stays", "item-40"} <= set(everything)
    assert client.get("/items/stays").json()["trained"] is False
    trained = client.get("/items/item-40").json()
    assert (trained["trained"], trained["item"]["title"]) == (True, "Trained by then")
    found = ContentPath.of(written).rows([make_features(1, seed=2)[0]]).embeddings[0]
    answer = client.get(f"/recommend/user-{USER}?k=60&exclude_seen=false").json()
    score = next(item["score"] for item in answer["items"] if item["item_id"] == "stays")
    assert score == pytest.approx(float(found @ written.user_embeddings[USER]), abs=1e-4)


def test_a_restart_serves_new_items_from_its_first_answer(tmp_path):
    bundle = publish(tmp_path / "registry", make_living_content())
    settings = {"registry": tmp_path / "registry", "data": tmp_path / "data"}
    with serving(**settings) as client:
        put(client, "kept", title="Kept", features=liked_by(bundle, USER))
    with serving(**settings) as client:
        assert "kept" in listed(client)


def test_an_item_that_one_worker_takes_in_is_in_the_lists_of_the_other(tmp_path):
    with two_workers(tmp_path, content=make_living_content()) as duo:
        first, second = duo.clients()
        put(first, "shared", title="Shared", features=make_features(1, seed=3)[0])
        for client in (first, second):
            wait_until(lambda client=client: "shared" in listed(client, k=60, exclude_seen=False))


def test_of_items_put_while_bundles_swap_none_is_lost_and_none_is_shown_twice(tmp_path):
    registry = tmp_path / "registry"
    contents = [make_living_content(seed=seed) for seed in (0, 1)]
    publish(registry, contents[0])
    n, rounds = 120, 4
    with serving(registry=registry, data=tmp_path / "data", bundle_poll_s=0.02, watch_s=0) as client:

        def put_all() -> None:
            with httpx.Client(base_url=client.base_url, timeout=60) as mine:
                for i in range(n):
                    put(mine, f"put-{i}", title=f"Put {i}", features=make_features(1, seed=i)[0])

        putting = threading.Thread(target=put_all)
        putting.start()
        for i in range(rounds):
            written = publish(registry, contents[(i + 1) % 2])
            wait_until(lambda written=written: client.get("/readyz").json()["bundle"] == written.bundle_id)
        putting.join()
        wait_until(lambda: f"put-{n - 1}" in listed(client, k=200, exclude_seen=False))
        everything = listed(client, k=200, exclude_seen=False)
        assert sorted(everything) == sorted({*(f"item-{i}" for i in range(40)), *(f"put-{i}" for i in range(n))})
        wait_until(lambda: counted(client, "reco_bundles_open") == 1)
