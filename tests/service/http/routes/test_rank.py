"""POST /rank: given candidates in the order that /recommend would have them, explained alike."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import httpx
import numpy as np
import pytest
from asking import N_ITEMS, N_USERS, ids, item, post
from bundles import CATEGORIES, MADE_AT, make_content
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import publish, serving

from index.bundle import write_bundle
from index.registry import Registry
from service.http.responses import RankAnswer

ALL = [item(row) for row in range(N_ITEMS)]
law = settings(max_examples=30)


@pytest.fixture(scope="module")
def client(registry: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry, rank_max=N_ITEMS, diversity_pool=15) as client:
        yield client


def rank(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/rank", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    RankAnswer.model_validate(answer)
    return answer


def lists(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("source", "items", "missing", "user_id")}


def is_near(found: Any, expected: Any) -> bool:
    """Whether both say the same; the shares of a score depend on their last digit on what is explained beside it."""
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(is_near(found[name], expected[name]) for name in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(is_near, found, expected))
    return bool(found == (pytest.approx(expected, abs=1e-4) if isinstance(found, float) else expected))


def test_all_items_without_those_seen_come_in_the_order_of_recommend(client: httpx.Client) -> None:
    for row in range(N_USERS + 1):
        user = f"user-{row}"
        ranked = rank(client, candidates=ALL, user_id=user, exclude_seen=True, explain=True)
        assert lists(ranked) == lists(client.get(f"/recommend/{user}", params={"k": N_ITEMS, "explain": True}).json())


@law
@given(
    asking.sessions, asking.rules, asking.orders, st.booleans(), st.booleans(), st.integers(1, 12), st.integers(0, 9)
)
def test_the_candidates_of_a_category_come_as_recommend_lists_the_category(  # noqa: PLR0917
    client: httpx.Client,
    session: dict[str, Any],
    rules: dict[str, Any],
    order: dict[str, Any],
    exclude_seen: bool,
    explain: bool,
    k: int,
    offset: int,
) -> None:
    asked = {**session, **order, "rules": rules, "exclude_seen": exclude_seen, "k": k, "offset": offset}
    asked |= {"explain": explain, "counterfactual": explain}
    lamps = [item(row) for row in range(N_ITEMS) if CATEGORIES[row % len(CATEGORIES)] == "lamp"]
    assert lists(rank(client, candidates=lamps, **asked)) == lists(post(client, category=["lamp"], **asked))


@law
@given(asking.sessions, st.lists(asking.rows, min_size=1, max_size=12, unique=True))
def test_a_candidate_has_the_score_and_explanation_that_it_has_in_recommend(
    client: httpx.Client, session: dict[str, Any], rows: list[int]
) -> None:
    whole = post(client, **session, k=N_ITEMS, explain=True, exclude_seen=False)
    known = {one["item_id"]: one for one in whole["items"]}
    ranked = rank(client, candidates=[item(row) for row in rows], **session, explain=True)
    assert set(ids(ranked)) == {item(row) for row in rows} - set(session["disliked"])
    for place, one in enumerate(ranked["items"], 1):
        expected = {**known[one["item_id"]], "rank": place}
        assert one["score"] == expected["score"]
        assert is_near(one, expected), (one, expected)
    assert [known[one]["rank"] for one in ids(ranked)] == sorted(known[one]["rank"] for one in ids(ranked))


def test_seen_candidates_are_ranked_unless_they_are_to_be_left_out(client: httpx.Client) -> None:
    unseen = ids(rank(client, candidates=ALL, user_id="user-3", exclude_seen=True))
    assert set(unseen) < set(ids(rank(client, candidates=ALL, user_id="user-3"))) == set(ALL)


def test_equal_scores_come_in_the_order_given(tmp_path: Path) -> None:
    content = make_content()
    content.item_embeddings[:10] = content.item_embeddings[0]
    for part in content.item_parts.values():
        part[:10] = part[0]
    content.popularity_trend[:10] = 0.5
    publish(tmp_path, content)
    given_order = [item(row) for row in (7, 2, 9, 0, 3)]
    with serving(registry=tmp_path) as client:
        for asked in ({}, {"user_id": "user-3"}, {"items": [{"item_id": "item-20"}]}, {"k": 3}, {"category_cap": 9}):
            answer = rank(client, candidates=given_order, **asked)
            assert ids(answer) == given_order[: asked.get("k", 5)], asked


def test_unknown_candidates_are_named_and_repeated_ones_count_once(client: httpx.Client) -> None:
    answer = rank(client, candidates=["item-3", "nothing", "item-3", "item-5"], items=[{"item_id": "gone"}])
    assert answer["unknown_items"] == ["nothing", "gone"]
    assert sorted(ids(answer)) == ["item-3", "item-5"]
    assert (answer["missing"], answer["source"]) == (2, "popular")
    assert ids(rank(client, candidates=["nothing"])) == []


def test_of_whom_nothing_is_known_the_candidates_come_by_popularity(client: httpx.Client) -> None:
    popular = [one for one in ids(client.get("/popular?k=40").json()) if one in ("item-1", "item-2", "item-8")]
    for asked in ({}, {"user_id": "nobody"}):
        answer = rank(client, candidates=["item-1", "item-2", "item-8"], explain=True, **asked)
        assert (answer["source"], ids(answer)) == ("popular", popular)
        assert answer["items"][0]["explanation"]["sentence"].startswith("Popular: ")


def test_a_hidden_candidate_is_not_shown(client: httpx.Client) -> None:
    client.put("/items/item-4/hidden")
    try:
        assert ids(rank(client, candidates=["item-4", "item-5"], user_id="user-3")) == ["item-5"]
    finally:
        client.delete("/items/item-4/hidden")


def test_an_approximate_index_ranks_candidates_exactly(tmp_path: Path) -> None:
    content = make_content(n_items=2_000, neighbours={})
    vector, rows = content.user_embeddings[3], np.random.default_rng(1).permutation(2_000)[:300]
    path = write_bundle(tmp_path, content, created_at=MADE_AT, factory="IVF32,Flat")
    Registry(tmp_path).publish(path.name)
    with serving(registry=tmp_path) as client:
        ranked = ids(rank(client, candidates=[item(row) for row in rows], user_id="user-3"))
    scores = np.einsum("rd,d->r", content.item_embeddings[rows], vector)
    assert ranked == [item(row) for row in rows[np.argsort(-scores, kind="stable")]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "candidates"),
        ({"candidates": []}, "candidates: .*at least 1 item"),
        ({"candidates": [*ALL, "more"]}, f"candidates has {N_ITEMS + 1} entries, the limit is {N_ITEMS}|at most"),
        ({"candidates": [""]}, "candidates"),
        ({"candidates": ["item-1"], "k": 0}, "k: .*greater than or equal to 1"),
        ({"candidates": ["item-1"], "k": N_ITEMS + 1}, f"k: .*less than or equal to {N_ITEMS}"),
        ({"candidates": ["item-1"], "offset": 5_000}, "offset . k is 5001, the limit is 1000"),
    ],
)
def test_a_wrong_request_is_refused_with_what_was_expected(client: httpx.Client, body: Any, said: str) -> None:
    response = client.post("/rank", json=body)
    assert response.status_code == 422
    assert re.search(said, response.json()["detail"]), response.text
