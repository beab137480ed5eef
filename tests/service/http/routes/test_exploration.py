from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import serving, wait_until

from index.bundle import Bundle
from service.http.responses import BatchAnswer, QualityAnswer, RecommendAnswer, SessionAnswer

SHOWN_TO_LEARN = "Shown to learn about it: few have seen it yet."


@pytest.fixture(scope="module")
def exploring(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("exploring")
    changes = {"exploration_refresh_s": 1e-6, "live_poll_s": 0.05, "answer_cache_mb": 0, "exploration_few": 10**6}
    with serving(registry=registry, data=folder, log_impressions=True, **changes) as client:
        yield client


def ask(client: httpx.Client, user: str = "user-3", **query: Any) -> dict[str, Any]:
    response = client.get(f"/recommend/{user}", params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    RecommendAnswer.model_validate(answer)
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def explored(answer: dict[str, Any]) -> list[int]:
    return [item["rank"] for item in answer["items"] if item.get("exploration")]


def test_explored_items_take_the_last_place_of_a_run_say_so_and_keep_their_score(exploring: httpx.Client) -> None:
    plain = ask(exploring, k=20)
    answer = ask(exploring, k=20, exploration=0.2, seed=4, explain=True)
    assert explored(answer)
    assert set(explored(answer)) <= {5, 10, 15, 20}
    scores = {item["item_id"]: item["score"] for item in ask(exploring, k=40)["items"]}
    for item in answer["items"]:
        assert item["score"] == scores[item["item_id"]]
        assert item["explanation"]["sentence"].endswith(SHOWN_TO_LEARN) == bool(item.get("exploration"))
        assert sum(item["explanation"]["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
    assert not explored(plain)


@pytest.fixture(scope="module")
def still(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that counts no new impression before the tests are over."""
    folder = tmp_path_factory.mktemp("still")
    with serving(registry=registry, data=folder, log_impressions=True, live_poll_s=600.0) as client:
        yield client


def test_the_same_seed_gives_the_same_list_and_another_seed_another_one(still: httpx.Client) -> None:
    assert ids(ask(still, k=20, exploration=0.5, seed=4)) == ids(ask(still, k=20, exploration=0.5, seed=4))
    lists = {tuple(ids(ask(still, k=20, exploration=0.5, seed=seed))) for seed in range(5)}
    assert len(lists) > 1


def test_pages_without_a_seed_are_pages_of_one_list(still: httpx.Client) -> None:
    whole = ids(ask(still, k=20, exploration=0.3))
    pages = [ids(ask(still, k=5, offset=offset, exploration=0.3)) for offset in (0, 5, 10, 15)]
    assert [item for page in pages for item in page] == whole
    batch = still.post("/recommend/batch", json={"user_ids": ["user-3"], "k": 20, "exploration": 0.3}).json()
    assert ids(BatchAnswer.model_validate(batch).model_dump()["answers"][0]) == whole


def test_nothing_that_may_not_be_shown_is_explored(exploring: httpx.Client, bundle: Bundle) -> None:
    seen = {bundle.item_ids[row] for row in bundle.seen(3)}
    exploring.put("/items/item-7/hidden")
    try:
        for seed in range(10):
            rules = {
                "block": [{"attribute": "material", "value": "wool"}],
                "boost": [{"category": "rug", "by": -0.1}],
                "pin": [{"item_id": "item-1", "position": 1}],
            }
            body = {"user_id": "user-3", "k": 40, "exploration": 1, "seed": seed, "exclude": ["item-9"], "rules": rules}
            answer = exploring.post("/recommend", json=body).json()
            SessionAnswer.model_validate(answer)
            assert answer["items"][0]["pinned"]
            assert not {"item-7", "item-9"} & set(ids(answer))
            assert not (seen - {"item-1"}) & set(ids(answer))
            for item in answer["items"]:
                assert "wool" not in item["title"]
                assert not (item.get("exploration") and item["category"] == "rug")  # a rule moves it down
    finally:
        exploring.delete("/items/item-7/hidden")


def test_an_unknown_user_and_a_session_explore_too(exploring: httpx.Client) -> None:
    assert any(explored(ask(exploring, user="nobody", k=20, exploration=0.5, seed=seed)) for seed in range(5))
    bodies = [{"items": [{"item_id": "item-4"}], "k": 20, "exploration": 0.5, "seed": seed} for seed in range(5)]
    assert any(explored(exploring.post("/recommend", json=body).json()) for body in bodies)
    answer = ask(exploring, user="nobody", k=20, exploration=0.5, seed=1, explain=True)
    sentences = [item["explanation"]["sentence"] for item in answer["items"] if item.get("exploration")]
    assert sentences
    assert all("Popular" in said or "No user has had it yet" in said for said in sentences)
    assert all(said.endswith(SHOWN_TO_LEARN) for said in sentences)


def test_quality_tells_explored_places_beside_the_others(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path, log_impressions=True, live_poll_s=0.05) as client:
        answer = ask(client, k=10, exploration=0.5, seed=4)
        of_explored, of_others = len(explored(answer)), 10 - len(explored(answer))
        assert of_explored
        clicked = [item["item_id"] for item in answer["items"] if item.get("exploration")][:1]
        event = {"user_id": "user-3", "kind": "click", "request_id": answer["request_id"], "bundle": answer["bundle"]}
        client.post("/events", json=[event | {"item_id": item} for item in clicked])

        def told() -> dict[str, Any] | None:
            quality = client.get("/quality").json()
            QualityAnswer.model_validate(quality)
            assert quality["overall"]["items_shown"] in (0, 10)
            found = quality["bundles"][0].get("exploration") if quality["bundles"] else None
            return found if found and found["explored"]["clicks"] else None

        wait_until(told)
        found = told()
        assert found is not None
        assert (found["explored"]["items_shown"], found["explored"]["clicks"]) == (of_explored, 1)
        assert (found["others"]["items_shown"], found["others"]["clicks"]) == (of_others, 0)


def test_what_many_have_seen_is_explored_no_more(registry: Path, bundle: Bundle, tmp_path: Path) -> None:
    changes = {"exploration_refresh_s": 1e-6, "live_poll_s": 0.05, "exploration_few": 30, "answer_cache_mb": 0}
    with serving(registry=registry, data=tmp_path, exploration=0.5, **changes) as client:
        first = ask(client, k=40, seed=1)
        assert "RECO_LOG_IMPRESSIONS" in first["warnings"][0]
        assert not explored(first)
        event = {"user_id": "x", "item_id": "item-1"}
        requests = [f"r{i}" for i in range(13)]
        clicks = [event | {"kind": kind, "request_id": r} for r in requests for kind in ("impression", "click")]
        client.post("/events", json=clicks)
        wait_until(lambda: "warnings" not in ask(client, k=40, seed=1))
        assert any(explored(ask(client, k=40, seed=seed)) for seed in range(5))
        shown = [
            event | {"kind": "impression", "item_id": item}
            for item in map(bundle.item_ids.__getitem__, range(40))
            for _ in range(31)
        ]
        for start in (0, 1_000):
            client.post("/events", json=shown[start : start + 1_000])
        wait_until(lambda: not any(explored(ask(client, k=40, seed=seed)) for seed in range(5)))


def test_without_exploration_the_answer_is_the_same_bytes(exploring: httpx.Client) -> None:
    def body(**query: Any) -> bytes:
        response = exploring.get(
            "/recommend/user-3", params={"k": 20, **query}, headers={"X-Request-Id": "the-same-for-both"}
        )
        return response.content

    assert body() == body(exploration=0)
    assert body(category_cap=5) == body(category_cap=5, exploration=0)
