"""The laws of answers while the service lives: users with events of their own, and items that were hidden."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import httpx
import pytest
from asking import batch, ids, post
from bundles import make_content
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Reference, folded, summed
from servers import publish, serving

from index.bundle import Bundle
from index.recency import Recency

HIDDEN = ["item-1", "item-16", "item-22", "item-31"]
EVENTS = {  # by user: what they did, oldest first; views count half, so that weights are not all alike
    "user-3": [("item-5", "view"), ("item-9", "purchase"), ("item-4", "dislike")],
    "newcomer": [("item-2", "view"), ("item-30", "like"), ("item-6", "dislike")],
}
law = settings(max_examples=30)


@pytest.fixture(scope="module", params=[None, Recency(tau=3, floor=0.1)], ids=["alike", "by recency"])
def bundle(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Bundle:
    return publish(tmp_path_factory.mktemp("living"), make_content(recency=request.param))


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[httpx.Client]:
    registry: Path = bundle.path.parent
    with serving(registry=registry, diversity_pool=15, event_weight_view=0.5) as client:
        events = [
            {"user_id": user, "item_id": item, "kind": kind, "event_id": f"{user}-{i}", "timestamp": 1e9 + i}
            for user, did in EVENTS.items()
            for i, (item, kind) in enumerate(did)
        ]
        assert client.post("/events", json=events).status_code == 202
        for item in HIDDEN:
            assert client.put(f"/items/{item}/hidden").status_code == 200
        yield client


def past_of(bundle: Bundle, user: str) -> dict[int, float]:
    """A user's past with its strengths, oldest first, by the rules of docs/feedback.md."""
    row = bundle.user_ids.row(user)
    past = {} if row is None else dict.fromkeys(bundle.seen(row).tolist(), 1.0)
    for item, kind in EVENTS[user]:
        past.pop(bundle.item_ids.row(item), None)  # type: ignore[arg-type]
        if kind != "dislike":
            past[int(item.removeprefix("item-"))] = 0.5 if kind == "view" else 1.0
    return past


@law
@given(st.sampled_from([*EVENTS, "user-7", "user-29"]), asking.rules, asking.orders, st.integers(0, 9), st.booleans())
def test_answers_to_users_with_events_sum_page_and_batch_like_all_others(  # noqa: PLR0917
    client: httpx.Client, user: str, rules: dict[str, Any], order: dict[str, Any], offset: int, exclude_seen: bool
) -> None:
    asked = {"rules": rules, "k": 9, "exclude_seen": exclude_seen, "explain": True, **order}
    answer = post(client, user_id=user, offset=offset, **asked)
    (same,) = batch(client, user_ids=[user], offset=offset, **asked)
    assert answer["items"] == same["items"]
    assert answer["source"] == ("fold_in" if user in EVENTS else "user")
    assert not set(HIDDEN) & set(ids(answer))
    for item in answer["items"]:
        for total in summed(item):
            assert total == pytest.approx(item["score"], abs=1e-4, rel=1e-5)


@law
@given(st.sampled_from(list(EVENTS)), st.booleans(), st.integers(1, 40))
def test_counterfactual_ranks_of_users_with_events_are_those_of_the_catalogue_sorted_anew(
    client: httpx.Client, bundle: Bundle, user: str, exclude_seen: bool, k: int
) -> None:
    query = {"k": k, "exclude_seen": exclude_seen, "explain": True, "counterfactual": True, "category": ["lamp", "rug"]}
    answer = client.get(f"/recommend/{user}", params=query).json()
    never = {int(one.removeprefix("item-")) for one in HIDDEN}
    never |= {int(item.removeprefix("item-")) for item, kind in EVENTS[user] if kind == "dislike"}
    never |= {row for row in range(40) if bundle.item(row)["category"] not in ("lamp", "rug")}
    row, past = bundle.user_ids.row(user), past_of(bundle, user)
    own = None if row is None else bundle.user_own[row]
    whole = Reference(bundle, folded(bundle, past, own), never | set(past) if exclude_seen else never)
    assert ids(answer) == whole.ids()[:k]
    for item in answer["items"]:
        for named in item["explanation"]["past_items"]:
            rest = {one: weight for one, weight in past.items() if f"item-{one}" != named["item_id"]}
            without = Reference(bundle, folded(bundle, rest, own), never | set(rest) if exclude_seen else never)
            here = int(item["item_id"].removeprefix("item-"))
            above = [one for one in without.rows() if one != here and without.scores()[one] > without.scores()[here]]
            assert named["rank_without"] == 1 + len(above)


@law
@given(asking.sessions, asking.rules, asking.orders)
def test_what_is_hidden_is_in_no_answer_and_no_rule_brings_it_back(
    client: httpx.Client, session: dict[str, Any], rules: dict[str, Any], order: dict[str, Any]
) -> None:
    rules = {**rules, "pin": [{"item_id": HIDDEN[0], "position": 1}], "boost": [{"item_id": HIDDEN[1], "by": 9}]}
    answer = post(client, k=asking.N_ITEMS, **session, **order, rules=rules, exclude_seen=False)
    assert not set(HIDDEN) & set(ids(answer))


@pytest.mark.parametrize("by", ["fused", "text", "image", "multimodal", "id"])
def test_what_is_hidden_is_nobodys_neighbour(client: httpx.Client, by: str) -> None:
    for query in ({}, {"category": ["lamp", "chair"]}, {"user_id": "user-3"}):
        answer = client.get("/similar/item-16", params={"by": by, "k": 40, **query}).json()
        assert not set(HIDDEN) & set(ids(answer))
        assert len(answer["items"]) == 40 - answer["missing"]
