"""Answers from a bundle that weighs past items by recency and knows no own terms: over a real service."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from asking import ids, item
from reference import Reference, folded, summed, weighted
from servers import publish, serving

from index.bundle import Bundle
from index.recency import Recency
from loadtests.random_bundle import RandomBundleSizes, random_content

RECENCY = Recency(tau=4, floor=0.1)
USERS = range(0, 30, 3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    sizes = RandomBundleSizes(n_items=60, n_users=30, seen_per_user=9, embedding_size=8)
    content = random_content(sizes, np.random.default_rng(0), recency=RECENCY)
    return publish(tmp_path_factory.mktemp("recency"), content)


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[httpx.Client]:
    with serving(registry=bundle.path.parent) as client:
        yield client


def explained(client: httpx.Client, user: str) -> list[dict[str, Any]]:
    answer = client.get(f"/recommend/{user}?k=10&explain=true&counterfactual=true").json()
    items: list[dict[str, Any]] = answer["items"]
    return items


def seen(bundle: Bundle, row: int) -> dict[int, float]:
    return dict.fromkeys(bundle.seen(row).tolist(), 1.0)


def row_of(one: dict[str, Any]) -> int:
    return int(one["item_id"].removeprefix("item-"))


@pytest.mark.parametrize("user", USERS)
def test_parts_and_past_items_sum_to_the_score_and_nothing_else_is_needed(client: httpx.Client, user: int) -> None:
    for one in explained(client, f"user-{user}"):
        assert summed(one) == pytest.approx((one["score"], one["score"]), abs=1e-4)
        assert one["explanation"]["user_own"] == 0
        assert "taste" not in one["explanation"]["sentence"]
        assert "beyond your past items" not in one["explanation"]["sentence"]


@pytest.mark.parametrize("user", USERS)
def test_each_contribution_is_the_past_items_weight_times_scale_times_its_vector(
    client: httpx.Client, bundle: Bundle, user: int
) -> None:
    weights = weighted(bundle, seen(bundle, user))
    scale = sum(weights.values()) ** -0.5
    for one in explained(client, f"user-{user}"):
        for past in one["explanation"]["past_items"]:
            weight, row = weights[row_of(past)], row_of(past)
            assert past.get("weight", 1) == pytest.approx(weight, abs=1e-6)
            product = float(bundle.fold_in[row] @ bundle.item_embeddings[row_of(one)])
            assert past["contribution"] == pytest.approx(weight * scale * product, abs=1e-4)


@pytest.mark.parametrize("user", USERS)
def test_without_a_past_item_older_ones_are_one_event_newer(client: httpx.Client, bundle: Bundle, user: int) -> None:
    past = seen(bundle, user)
    for one in explained(client, f"user-{user}"):
        for named in one["explanation"]["past_items"]:
            rest = {row: strength for row, strength in past.items() if row != row_of(named)}
            without = Reference(bundle, folded(bundle, rest), set(rest))
            assert named["rank_without"] == without.rows().index(row_of(one)) + 1


def test_an_event_moves_its_item_to_the_end_of_the_past_and_makes_all_others_older(
    client: httpx.Client, bundle: Bundle
) -> None:
    past = seen(bundle, 1)
    oldest, before = next(iter(past)), ids(client.get("/recommend/user-1?k=40").json())
    event = {"user_id": "user-1", "item_id": item(oldest), "kind": "view"}
    assert client.post("/events", json=event).status_code == 202
    del past[oldest]
    past[oldest] = 1.0
    expected = Reference(bundle, folded(bundle, past), set(past))
    assert ids(client.get("/recommend/user-1?k=40").json()) == expected.ids()[:40] != before


def test_readiness_tells_the_recency(client: httpx.Client) -> None:
    assert client.get("/readyz").json()["recency"] == {"tau": 4, "floor": 0.1}
