"""GET /bundles/compare: two bundles side by side."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import edited, make_content, write_small_bundle
from servers import publish, serving, serving_service, wait_until

from index.bundle import write_bundle
from service.bundles import comparing


def compared(client: httpx.Client, a: Path, b: Path, **query: Any) -> dict[str, Any]:
    response = client.get("/bundles/compare", params={"a": a.name, "b": b.name, **query})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refusal(client: httpx.Client, **query: Any) -> tuple[int, str, str]:
    response = client.get("/bundles/compare", params=query)
    return response.status_code, response.json()["error"], response.json()["detail"]


def test_a_bundle_agrees_wholly_with_itself_under_another_id(two):
    same = write_small_bundle(two.folder, after_seconds=9, seed=0)
    with serving(registry=two.folder) as client:
        answer = compared(client, two.first, same, user_id="user-3", k=5)
    assert (answer["overlap"], answer["rank_correlation"], answer["sampled_users"]) == (1, 1, 30)
    assert (answer["shared_users"], answer["shared_items"]) == (30, 40)
    for side in ("a", "b"):
        assert (answer[side]["only_users"], answer[side]["only_items"]) == (0, 0)
        assert [one["other_rank"] for one in answer["user"][side]["items"]] == [1, 2, 3, 4, 5]
    assert (answer["a"]["serves"], answer["b"]["serves"]) == (True, False)
    assert answer["b"]["shared_bytes"] > 0.9 * answer["b"]["bytes"]
    assert answer["user"]["overlap"] == 1


def test_the_opposite_model_puts_all_items_in_the_opposite_order(tmp_path: Path) -> None:
    content = make_content()
    opposite = replace(
        content,
        item_embeddings=-content.item_embeddings,
        item_parts={name: -part for name, part in content.item_parts.items()},
    )
    first = publish(tmp_path, content)
    second = write_bundle(tmp_path, opposite, created_at=first.manifest.created_at)
    with serving(registry=tmp_path) as client:
        whole, top = (compared(client, first.path, second, k=k, user_id="user-3") for k in (100, 1))
    assert (whole["overlap"], round(whole["rank_correlation"], 6)) == (1, -1)
    assert (top["overlap"], top["rank_correlation"]) == (0, None)
    unseen = 40 - len(first.seen(3))
    assert [one["other_rank"] for one in whole["user"]["a"]["items"]] == list(range(unseen, 0, -1))


def test_what_only_one_bundle_has_is_counted_and_named(tmp_path: Path) -> None:
    first = publish(tmp_path)
    ids = [f"item-{row}" if row < 30 else f"new-{row}" for row in range(40)]
    users = [f"user-{row}" if row < 20 else f"other-{row}" for row in range(30)]
    second = write_bundle(tmp_path, make_content(item_ids=ids, user_ids=users), created_at=first.manifest.created_at)
    with serving(registry=tmp_path) as client:
        answer = compared(client, first.path, second, k=100, user_id="user-25")
    assert (answer["shared_users"], answer["shared_items"], answer["sampled_users"]) == (20, 30, 20)
    a, b = answer["a"], answer["b"]
    assert (a["only_users"], a["only_items"], b["only_users"], b["only_items"]) == (10, 10, 10, 10)
    assert [item["item_id"] for item in b["only_items_examples"]] == [f"new-{row}" for row in range(30, 35)]
    expected = []
    for user in range(20):  # the same vectors: the lists differ in the names of the last ten items alone
        unseen = np.setdiff1d(np.arange(40), first.seen(user))
        expected.append((unseen < 30).mean())
    assert answer["overlap"] == pytest.approx(np.mean(expected))
    ours, theirs = answer["user"]["a"], answer["user"]["b"]
    assert (ours["source"], theirs["source"]) == ("user", "popular")
    renamed = next(one for one in theirs["items"] if one["item_id"] == "new-31")
    assert (renamed["other_has"], renamed["other_rank"]) == (False, None)


def test_the_serving_bundles_list_is_that_of_recommend_with_the_users_events_and_without_hidden_items(two):
    with serving(registry=two.folder) as client:
        top = client.get("/recommend/user-3").json()["items"]
        client.put(f"/items/{top[0]['item_id']}/hidden").raise_for_status()
        event = {"event_id": "e1", "user_id": "user-3", "item_id": top[1]["item_id"], "kind": "purchase"}
        client.post("/events", json={"events": [event]}).raise_for_status()
        now = client.get("/recommend/user-3", params={"k": 10}).json()
        user = compared(client, two.first, two.second, user_id="user-3", k=10)["user"]
    assert now["source"] == user["a"]["source"] == "fold_in"
    assert [one["item_id"] for one in user["a"]["items"]] == [one["item_id"] for one in now["items"]]
    assert [one["score"] for one in user["a"]["items"]] == pytest.approx([one["score"] for one in now["items"]])
    assert user["past"][0]["item_id"] == top[1]["item_id"]
    hidden = top[0]["item_id"]
    assert hidden not in [one["item_id"] for side in ("a", "b") for one in user[side]["items"]]


def test_what_cannot_be_compared_is_refused_in_words(two):
    broken = edited(write_small_bundle(two.folder, after_seconds=5, seed=5), "items/bytes.npy", lambda a: a.fill(120))
    (two.second / "fold_in.npy").write_bytes(b"broken")
    first = two.first.name
    with serving(registry=two.folder) as client:
        assert refusal(client, a=first, b=first) == (
            422, "invalid_request", f"a and b are both '{first}'; expected two different bundles",
        )  # fmt: skip
        assert refusal(client, a=first, b="../nothing")[:2] == (404, "unknown_bundle")
        status, error, detail = refusal(client, a=two.second.name, b=first)
        assert (status, error) == (409, "unreadable_bundle")
        assert "fold_in.npy" in detail
        assert refusal(client, a=first, b=broken.name, user_id="user-3")[:2] == (409, "unreadable_bundle")
        assert refusal(client, a=first)[:2] == (422, "invalid_request")
        assert client.get("/recommend/user-3").json()["bundle"] == first


def test_comparisons_are_for_admins(two):
    with serving(registry=two.folder, admin_open=False) as client:
        assert refusal(client, a=two.first.name, b=two.second.name)[:2] == (403, "forbidden")


def test_at_most_two_bundles_stay_open_and_none_for_long(two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "OPEN_S", 0.2)
    more = [write_small_bundle(two.folder, after_seconds=5 + seed, seed=seed) for seed in range(2, 4)]
    with serving_service(registry=two.folder) as (client, service):
        comparison = service.bundles.comparison
        for a, b in ((two.first, two.second), (two.second, more[0]), (more[0], more[1])):
            compared(client, a, b)
            assert two.first.name not in comparison._open
            assert len(comparison._open) <= 2
        wait_until(lambda: not comparison._open)


def test_a_second_comparison_waits_and_a_third_one_is_refused(two, monkeypatch: pytest.MonkeyPatch) -> None:
    go, compare = threading.Event(), comparing._compared

    def slow(*given: Any) -> comparing.Comparison:
        go.wait(30)
        return compare(*given)

    monkeypatch.setattr(comparing, "_compared", slow)
    with serving_service(registry=two.folder) as (client, service), ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(compared, client, two.first, two.second) for _ in range(2)]
        try:
            wait_until(lambda: len(service.bundles.comparison._tasks) == 2)
            assert refusal(client, a=two.first.name, b=two.second.name)[:2] == (429, "comparing")
            assert client.get("/recommend/user-3").status_code == 200  # others are served meanwhile
        finally:
            go.set()
        assert [one.result()["sampled_users"] for one in waiting] == [30, 30]
