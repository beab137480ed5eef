from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from bundles import make_content
from lively import naive
from servers import Valkey, counted, publish, serving, wait_until

from index.bundle import Bundle
from service.http.responses import HiddenAnswer, HiddenList, ItemAnswer, PopularAnswer, TrendingAnswer, UserAnswer


@pytest.fixture
def live(registry: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry, data=tmp_path, live_poll_s=0.05) as client:
        yield client


def did(client: httpx.Client, user_id: str, *items: str, kind: str = "click", **more: Any) -> None:
    given = [{"user_id": user_id, "item_id": item, "kind": kind, **more} for item in items]
    response = client.post("/events", json={"events": given})
    assert response.status_code == 202, response.text


def ask(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    response = client.get(path, params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_user_whose_events_come_in_gets_them_left_out_of_the_next_answer_and_a_new_vector(
    live: httpx.Client, bundle: Bundle
) -> None:
    before = ask(live, "/recommend/user-3", k=5)
    first, second = ids(before)[:2]
    did(live, "user-3", first)
    did(live, "user-3", second, kind="dislike")
    after = ask(live, "/recommend/user-3", k=40)
    assert (before["source"], after["source"]) == ("user", "fold_in")
    assert not {first, second} & set(ids(after))
    vector, past, _ = naive(bundle, "user-3", [(first, "click"), (second, "dislike")])
    seen_ones_too = ask(live, "/recommend/user-3", k=40, exclude_seen="false")
    assert first in ids(seen_ones_too)
    assert second not in ids(seen_ones_too)
    scores = bundle.item_embeddings @ vector
    scores[list(past | {bundle.item_ids.row(second)})] = -np.inf  # type: ignore[list-item]
    assert ids(after)[0] == bundle.item_ids[int(scores.argmax())]


def test_an_unknown_user_is_answered_from_events_and_the_explanation_sums_to_the_score(live: httpx.Client) -> None:
    assert ask(live, "/recommend/new")["source"] == "popular"
    did(live, "new", "item-1", "item-2", "item-3", "item-4")
    answer = ask(live, "/recommend/new", explain="true")
    assert answer["source"] == "fold_in"
    for item in answer["items"]:
        why = item["explanation"]
        total = sum(one["contribution"] for one in why["past_items"]) + why["other_past_items"] + why["user_own"]
        assert total == pytest.approx(item["score"], abs=1e-4)
        assert sum(why["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
        assert why["user_own"] == 0


def test_what_is_known_of_a_user_is_told_without_the_vector(live: httpx.Client, bundle: Bundle) -> None:
    found = ask(live, "/users/user-3")
    UserAnswer.model_validate(found)
    assert (found["source"], found["trained"], found["seen"]) == ("user", True, len(bundle.seen(3)))
    assert (found["events"], found["last_event_age_s"]) == (0, None)
    new = [row for row in range(40) if row not in bundle.seen(3).tolist()][:2]
    did(live, "user-3", f"item-{new[0]}")
    did(live, "user-3", f"item-{new[1]}", kind="dislike", timestamp=1.0)
    found = ask(live, "/users/user-3")
    assert (found["source"], found["seen"], found["excluded"]) == ("fold_in", len(bundle.seen(3)) + 1, 1)
    assert (found["events"], found["events_since_training"]) == (2, 1)
    assert found["last_event_age_s"] < 60
    stranger = ask(live, f"/users/{quote('nö/body', safe='')}")
    assert (stranger["source"], stranger["trained"], stranger["seen"]) == ("popular", False, 0)


def test_the_operator_may_have_unknown_users_refused(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path, unknown_user="404") as client:
        for path in ("/recommend/new", "/users/new", "/recommend/new"):
            response = client.get(path)
            assert (response.status_code, response.json()["error"]) == (404, "unknown_user")
        did(client, "new", "item-1")
        assert ask(client, "/recommend/new")["source"] == "fold_in"


def everywhere(client: httpx.Client) -> set[str]:
    """All that lists of any kind show."""
    shown: list[dict[str, Any]] = [
        ask(client, "/recommend/user-3", k=40, exclude_seen="false"),
        ask(client, "/recommend/user-3", k=40, exclude_seen="false", diversity=0.5),
        ask(client, "/recommend/nobody", k=40),
        ask(client, "/popular", k=40),
        ask(client, "/trending", k=40),
        client.post("/recommend", json={"items": [{"item_id": "item-2"}], "k": 40, "exclude_seen": False}).json(),
    ]
    shown += [ask(client, "/similar/item-2", k=40, by=by) for by in ("fused", "id", "text", "image")]
    batch = client.post("/recommend/batch", json={"user_ids": ["user-3", "nobody"], "k": 40}).json()
    return {item_id for answer in [*shown, *batch["answers"]] for item_id in ids(answer)}


def test_a_hidden_item_is_in_no_list_from_the_next_answer_on_until_it_is_shown_again(live: httpx.Client) -> None:
    did(live, "other", "item-7")
    assert "item-7" in everywhere(live)
    hidden = live.put("/items/item-7/hidden")
    assert hidden.status_code == 200
    HiddenAnswer.model_validate(hidden.json())
    assert "item-7" not in everywhere(live)
    item = ask(live, "/items/item-7")
    ItemAnswer.model_validate(item)
    assert item["hidden"] is True
    listed = ask(live, "/hidden")
    HiddenList.model_validate(listed)
    assert (listed["total"], listed["item_ids"]) == (1, ["item-7"])
    assert counted(live, "reco_hidden_items") == 1
    assert live.delete("/items/item-7/hidden").json()["hidden"] is False
    assert "item-7" in everywhere(live)
    assert live.delete("/items/item-7/hidden").status_code == 200  # again: no error
    for response in (live.put("/items/gone/hidden"), live.delete("/items/gone/hidden")):
        assert (response.status_code, response.json()["error"]) == (404, "unknown_item")


def test_a_pinned_item_that_is_hidden_is_not_shown(live: httpx.Client) -> None:
    live.put("/items/item-7/hidden")
    body = {"items": [{"item_id": "item-2"}], "rules": {"pin": [{"item_id": "item-7", "position": 1}]}}
    answer = live.post("/recommend", json=body)
    assert answer.status_code == 200
    assert "item-7" not in ids(answer.json())


def test_an_item_stays_hidden_over_a_restart_and_under_another_bundle(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    publish(registry)
    with serving(registry=registry) as client:
        client.put("/items/item-7/hidden")
    ids_in_another_order = [f"item-{row}" for row in reversed(range(40))]
    publish(registry, make_content(seed=1, item_ids=ids_in_another_order))
    with serving(registry=registry) as client:
        shown = ids(ask(client, "/recommend/user-3", k=40, exclude_seen="false"))
        assert len(shown) == 39
        assert "item-7" not in shown


def test_what_is_hidden_on_one_replica_is_hidden_on_the_other_within_moments(
    registry: Path, valkey: Valkey, tmp_path: Path
) -> None:
    shared = {"registry": registry, "redis_url": valkey.url, "live_poll_s": 30}  # only the signal can be that quick
    with serving(data=tmp_path / "one", **shared) as one, serving(data=tmp_path / "two", **shared) as two:
        assert "item-7" in everywhere(two)
        one.put("/items/item-7/hidden")
        wait_until(lambda: "item-7" not in everywhere(two))
        one.delete("/items/item-7/hidden")
        wait_until(lambda: "item-7" in everywhere(two))


def test_an_event_at_one_replica_is_felt_at_another_that_shares_the_log(registry: Path, tmp_path: Path) -> None:
    shared = {"registry": registry, "data": tmp_path, "live_poll_s": 0.05}
    with serving(**shared) as one, serving(**shared) as two:
        first = ids(ask(two, "/recommend/user-3"))[0]
        did(one, "user-3", first)
        wait_until(lambda: first not in ids(ask(two, "/recommend/user-3")))


def test_popular_items_come_by_category_and_page(live: httpx.Client, bundle: Bundle) -> None:
    lamps = [row for row in np.argsort(-bundle.popularity_trend, kind="stable") if row % 4 == 1]
    answer = ask(live, "/popular", k=3, offset=2, category="lamp")
    PopularAnswer.model_validate(answer)
    assert ids(answer) == [f"item-{row}" for row in lamps[2:5]]
    assert [item["rank"] for item in answer["items"]] == [3, 4, 5]


def test_what_is_on_the_rise_comes_from_events_and_then_from_what_is_popular(live: httpx.Client) -> None:
    answer = ask(live, "/trending", k=5)
    TrendingAnswer.model_validate(answer)
    assert (answer["source"], ids(answer)) == ("popular", ids(ask(live, "/popular", k=5)))
    for user in ("a", "b", "c"):
        did(live, user, "item-9")
    did(live, "a", "item-8")
    did(live, "a", "gone")
    wait_until(lambda: ask(live, "/trending")["source"] == "trending")
    wait_until(lambda: ids(ask(live, "/trending", k=2)) == ["item-9", "item-8"])
    answer = ask(live, "/trending", k=5, half_life_hours=48)
    assert (answer["source"], answer["half_life_hours"]) == ("trending", 48)
    scores = [item["score"] for item in answer["items"]]
    assert scores[:2] == pytest.approx([3, 1], rel=0.05)
    assert scores[2:] == [0, 0, 0]
    assert len(set(ids(ask(live, "/trending", k=40)))) == 40
    assert ids(ask(live, "/trending", k=1, category="chair")) == ["item-8"]
    assert ids(ask(live, "/trending", k=1, offset=1)) == ["item-8"]
    assert live.get("/trending?half_life_hours=0").status_code == 422


def test_what_is_on_the_rise_is_known_again_after_a_restart(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path) as client:
        did(client, "a", "item-9", "item-8", "item-9")
    with serving(registry=registry, data=tmp_path) as client:
        wait_until(lambda: ids(ask(client, "/trending", k=2)) == ["item-9", "item-8"])
