"""Laws of every answer of /recommend, whichever way it was asked for: over a real service, by hypothesis."""

from pathlib import Path
from typing import Any

import asking
import httpx
import pytest
from asking import batch, ids, post
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import summed
from servers import serving

TO_THE_SCORE = 1e-4
law = settings(max_examples=30)


@pytest.fixture(scope="module")
def client(registry: Path) -> Any:
    with serving(registry=registry, diversity_pool=15) as client:  # smaller than the catalogue: lists go beyond it
        yield client


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in names}


@law
@given(asking.sessions, asking.rules, asking.orders, st.integers(1, 12), st.integers(0, 12), st.booleans())
def test_every_explanation_sums_to_its_score_twice(  # noqa: PLR0917
    client: httpx.Client,
    session: dict[str, Any],
    rules: dict[str, Any],
    order: dict[str, Any],
    k: int,
    offset: int,
    exclude_seen: bool,
) -> None:
    asked = {"rules": rules, "k": k, "offset": offset, "exclude_seen": exclude_seen, "explain": True, **order}
    answer = post(client, counterfactual=exclude_seen, **session, **asked)
    several = batch(client, user_ids=["user-3", "user-29", "nobody"], **asked)
    for given_answer in (answer, *several):
        for item in given_answer["items"]:
            assert item["explanation"]["sentence"].endswith(".")
            if given_answer["source"] != "popular":
                for total in summed(item):
                    assert total == pytest.approx(item["score"], abs=TO_THE_SCORE, rel=1e-5)


@law
@given(st.lists(asking.users, min_size=1, max_size=5), asking.orders, st.booleans(), st.booleans(), st.integers(0, 9))
def test_one_of_a_batch_is_answered_as_it_would_be_alone(  # noqa: PLR0917
    client: httpx.Client, users: list[str], order: dict[str, Any], plain: bool, explain: bool, offset: int
) -> None:
    options = {"k": 7} if plain else {"k": 7, "offset": offset, "category": ["lamp", "rug"], **order}
    options["explain"] = options["counterfactual"] = explain
    query = {name: value for name, value in options.items() if value is not None}
    for user, answer in zip(users, batch(client, user_ids=users, **options), strict=True):
        alone = client.get(f"/recommend/{user}", params=query).json()
        assert without(alone, "bundle", "request_id") == answer


@law
@given(asking.sessions, asking.rules)
def test_one_of_a_batch_under_rules_is_answered_as_a_session_of_nothing_would_be(
    client: httpx.Client, session: dict[str, Any], rules: dict[str, Any]
) -> None:
    user = session["user_id"] or "user-5"
    (answer,) = batch(client, user_ids=[user], rules=rules, k=9, explain=True)
    alone = post(client, user_id=user, rules=rules, k=9, explain=True)
    assert without(alone, "bundle", "request_id", "unknown_items") == answer


@law
@given(asking.sessions, asking.rules, asking.orders, st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_pages_are_parts_of_one_list(
    client: httpx.Client, session: dict[str, Any], rules: dict[str, Any], order: dict[str, Any], sizes: list[int]
) -> None:
    asked = {**session, **order, "rules": rules}
    whole = post(client, k=sum(sizes), **asked)
    pages = [post(client, k=size, offset=sum(sizes[:i]), **asked) for i, size in enumerate(sizes)]
    assert [item for page in pages for item in page["items"]] == whole["items"]
    assert [item["rank"] for item in whole["items"]] == list(range(1, len(whole["items"]) + 1))
    assert len(set(ids(whole))) == len(whole["items"]) == sum(sizes) - whole["missing"]


@law
@given(asking.sessions, asking.rules, asking.orders)
def test_pins_stand_where_they_were_put_in_every_order(
    client: httpx.Client, session: dict[str, Any], rules: dict[str, Any], order: dict[str, Any]
) -> None:
    answer = post(client, k=asking.N_ITEMS, **session, **order, rules=rules)
    plain = post(client, k=asking.N_ITEMS, **session, rules=rules)
    pinned = {one["item_id"]: one["rank"] for one in answer["items"] if one.get("pinned")}
    assert set(pinned) == {one["item_id"] for one in plain["items"] if one.get("pinned")}
    for pin in rules["pin"]:
        if pin["item_id"] in pinned and pin["position"] <= len(answer["items"]) - len(pinned):
            assert pinned[pin["item_id"]] == pin["position"]
    unruled = not (rules["block"] or rules["require"])
    kept_off = set(session["disliked"])
    if unruled:
        assert set(pinned) == {pin["item_id"] for pin in rules["pin"]} - kept_off


@law
@given(asking.sessions, asking.orders)
def test_an_order_moves_items_and_changes_no_score(
    client: httpx.Client, session: dict[str, Any], order: dict[str, Any]
) -> None:
    plain = post(client, k=asking.N_ITEMS, **session)
    ordered = post(client, k=asking.N_ITEMS, **session, **order)
    scores = {item["item_id"]: item["score"] for item in plain["items"]}
    assert all(scores[item["item_id"]] == item["score"] for item in ordered["items"])
    assert ordered["items"] == post(client, k=asking.N_ITEMS, **session, **order)["items"]
    if order["category_cap"] is None:
        assert set(ids(ordered)) == set(scores)
    else:
        shown = [item["category"] for item in ordered["items"]]
        for category in {item["category"] for item in plain["items"]}:
            at_hand = sum(item["category"] == category for item in plain["items"])
            assert shown.count(category) == min(order["category_cap"], at_hand)
    if not order["diversity"] and order["seed"] is None and order["category_cap"] is None:
        assert ordered["items"] == plain["items"]
