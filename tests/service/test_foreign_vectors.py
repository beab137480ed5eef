"""Vectors of ALS become a bundle that the service answers by: in ALS's own order, with explanations that sum up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import scipy.sparse as sp
from asking import post
from implicit.als import AlternatingLeastSquares
from servers import serving

from index import bundle_from_vectors, open_bundle
from index.registry import Registry

N_USERS, N_ITEMS = 60, 40


class Shop:
    """A checkerboard: even users have even items, odd users odd ones; item 1, of the odd ones, is the most popular."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        chance = np.where((np.arange(N_USERS)[:, None] + np.arange(N_ITEMS)) % 2 == 0, 0.5, 0.0)
        had = rng.random((N_USERS, N_ITEMS)) < chance
        had[1::2, 1] = True
        self.had = sp.csr_matrix(had.astype(np.float32))
        self.als = AlternatingLeastSquares(factors=8, iterations=10, random_state=0, num_threads=1)
        self.als.fit(self.had, show_progress=False)
        self.user_ids, self.item_ids = [f"u{row}" for row in range(N_USERS)], [f"i{row}" for row in range(N_ITEMS)]

    def own_list(self, row: int) -> tuple[list[str], Any]:
        """ALS's list for a user, and the scores."""
        rows, scores = self.als.recommend(row, self.had[row], N=10, filter_already_liked_items=True)
        return [self.item_ids[item] for item in rows.tolist()], scores


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def registry(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("registry")
    bundle_from_vectors(
        folder,
        item_ids=shop.item_ids,
        item_vectors=shop.als.item_factors,
        user_ids=shop.user_ids,
        user_vectors=shop.als.user_factors,
        interactions=shop.had,
        items=[{"item_id": "i1", "title": "The one that many have", "price": 3}],
        model="als",
        publish=True,
    )
    return folder


@pytest.fixture(scope="module")
def client(registry: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry) as client:
        yield client


def test_the_gate_passed_the_bundle(registry: Path) -> None:
    opened = Registry(registry)
    serving_id = opened.current_id()
    assert serving_id is not None
    report = opened.record(serving_id).gate
    assert report is not None
    assert report.report.passed


def test_the_service_gives_the_order_of_als(client: httpx.Client, shop: Shop) -> None:
    for row in range(N_USERS):
        answer = client.get(f"/recommend/u{row}", params={"k": 10, "explain": "true"}).json()
        expected, scores = shop.own_list(row)
        assert [item["item_id"] for item in answer["items"]] == expected
        np.testing.assert_allclose([item["score"] for item in answer["items"]], scores, atol=1e-5)
        for item in answer["items"]:
            why = item["explanation"]
            past = sum(one["contribution"] for one in why["past_items"])
            assert past + why["other_past_items"] + why["user_own"] == pytest.approx(item["score"], abs=1e-5)
            assert why["parts"] == pytest.approx({"id": item["score"]}, abs=1e-5)


def test_a_new_users_list_is_of_their_own_colour_where_popularity_is_not(client: httpx.Client) -> None:
    popular = [item["item_id"] for item in client.get("/recommend/stranger", params={"k": 10}).json()["items"]]
    rng = np.random.default_rng(0)
    for colour in (0, 1) * 5:
        session = [{"item_id": f"i{2 * half + colour}"} for half in rng.choice(N_ITEMS // 2, 3, replace=False).tolist()]
        folded = [item["item_id"] for item in post(client, items=session, k=10)["items"]]
        assert sum(_colour(item) == colour for item in folded) >= 8
    assert 3 <= sum(map(_colour, popular)) <= 7


def _colour(item_id: str) -> int:
    return int(item_id[1:]) % 2


def test_most_of_a_score_is_explained_by_past_items(registry: Path) -> None:
    bundle = open_bundle(registry)
    shares = bundle.manifest.config["fold_in_explains"]
    assert shares["all users"] > 0.9
    assert shares["users not fitted to"] > 0.9
    first = bundle.recommend("u4")[0]
    assert first.explanation is not None
    assert abs(first.explanation.user_own) < 0.5 * first.score


def test_users_without_vectors_are_made_of_their_items(shop: Shop, tmp_path: Path) -> None:
    pairs = [(shop.user_ids[user], shop.item_ids[item]) for user, item in zip(*shop.had.nonzero(), strict=True)]
    path = bundle_from_vectors(
        tmp_path, item_ids=shop.item_ids, item_vectors=shop.als.item_factors, interactions=pairs, publish=True
    )
    bundle = open_bundle(path)
    assert bundle.manifest.fold_in == "exact"
    assert not bundle.manifest.user_own
    for row in range(10):
        assert all(int(item.item_id[1:]) % 2 == row % 2 for item in bundle.recommend(f"u{row}", k=5))
    assert bundle.recommend("u3").source == "user"
