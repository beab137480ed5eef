from typing import Any

import asking
import httpx
import numpy as np
import pytest
from asking import batch, ids, item, post
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Reference, rows_with

from index.bundle import Bundle

law = settings(max_examples=40)


def reach(bundle: Bundle, choice: dict[str, Any]) -> set[int]:
    """The rows that a rule means."""
    if "item_id" in choice:
        return {int(choice["item_id"].removeprefix("item-"))}
    if "category" in choice:
        return rows_with(bundle, "category", choice["category"])
    return rows_with(bundle, choice["attribute"], choice["value"])


def referred(bundle: Bundle, user: int, rules: dict[str, Any]) -> Reference:
    """A user's list under rules, by hand."""
    found = Reference(bundle, bundle.user_embeddings[user], set(bundle.seen(user).tolist()))
    unit = found.unit()
    for boost in rules["boost"]:
        for row in reach(bundle, boost):
            found.shares[row] = found.shares.get(row, 0.0) + boost["by"] * unit
    for block in rules["block"]:
        found.left_out |= reach(bundle, block)
    for kind in ("category", "attribute"):
        alternatives = [reach(bundle, one) for one in rules["require"] if kind in one]
        if alternatives:
            found.left_out |= set(range(len(bundle.item_ids))) - set().union(*alternatives)
    return found


@law
@given(st.integers(0, 28), asking.rules, st.integers(1, 40))
def test_boosts_blocks_and_requirements_give_the_list_that_is_worked_out_by_hand(
    client: httpx.Client, bundle: Bundle, user: int, rules: dict[str, Any], k: int
) -> None:
    expected = referred(bundle, user, rules)
    answer = post(client, user_id=f"user-{user}", k=k, rules={**rules, "pin": []}, explain=True)
    assert ids(answer) == expected.ids()[:k]
    scores = expected.scores()
    for shown, row in zip(answer["items"], expected.rows(), strict=False):
        assert shown["score"] == pytest.approx(scores[row], abs=1e-4)
        assert shown["explanation"].get("rules", 0) == pytest.approx(expected.shares.get(row, 0), abs=1e-4)


@law
@given(st.integers(0, 28), asking.rules, st.booleans())
def test_a_counterfactual_rank_is_that_of_the_catalogue_sorted_under_the_same_rules(
    client: httpx.Client, bundle: Bundle, user: int, rules: dict[str, Any], exclude_seen: bool
) -> None:
    asked = {"rules": rules, "exclude_seen": exclude_seen, "explain": True, "counterfactual": True}
    answer = post(client, user_id=f"user-{user}", k=5, **asked)
    seen = bundle.seen(user).tolist()
    for shown in answer["items"]:
        row = int(shown["item_id"].removeprefix("item-"))
        for past in shown["explanation"]["past_items"]:
            rest = [one for one in seen if item(one) != past["item_id"]]
            without = referred(bundle, user, {**rules, "boost": []})
            own = bundle.user_own[user].astype(np.float64)
            added = len(rest) ** -0.5 * bundle.fold_in[rest].astype(np.float64).sum(axis=0) if rest else 0
            without.shares = referred(bundle, user, rules).shares  # a rule's share stays what it is
            without.left_out -= set(seen)
            without.left_out |= {one for one in seen if one in referred_away(bundle, rules)}
            without.vector = own + added
            hidden = without.left_out | (set(rest) if exclude_seen else set())
            scores = without.scores()
            above = [one for one in range(len(scores)) if one not in {*hidden, row} and scores[one] > scores[row]]
            assert past["rank_without"] == 1 + len(above)


def referred_away(bundle: Bundle, rules: dict[str, Any]) -> set[int]:
    """The rows that rules alone keep off every list, pinned ones apart."""
    nobody = Reference(bundle, bundle.user_own[0])
    for block in rules["block"]:
        nobody.left_out |= reach(bundle, block)
    for kind in ("category", "attribute"):
        alternatives = [reach(bundle, one) for one in rules["require"] if kind in one]
        if alternatives:
            nobody.left_out |= set(range(len(bundle.item_ids))) - set().union(*alternatives)
    return nobody.left_out


def test_pins_go_to_their_places_and_the_others_around_them(client: httpx.Client, bundle: Bundle) -> None:
    plain = ids(post(client, user_id="user-3", k=40))
    last, before = plain[-1], plain[-2]
    pin = [{"item_id": last, "position": 1}, {"item_id": before, "position": 3}]
    answer = post(client, user_id="user-3", k=5, rules={"pin": pin}, explain=True)
    assert ids(answer) == [last, plain[0], before, plain[1], plain[2]]
    assert [shown.get("pinned", False) for shown in answer["items"]] == [True, False, True, False, False]
    assert answer["items"][0]["explanation"]["sentence"].endswith("A rule put it in this place.")
    assert ids(post(client, user_id="user-3", k=2, offset=2, rules={"pin": pin})) == [before, plain[1]]


def test_a_pin_shows_what_was_seen_but_nothing_blocked_excluded_disliked_or_outside_a_filter(
    client: httpx.Client, bundle: Bundle
) -> None:
    seen = item(int(bundle.seen(3)[0]))
    row = bundle.item_ids.row(seen)
    assert row is not None
    category = bundle.item(row)["category"]
    pin = {"pin": [{"item_id": seen, "position": 2}]}
    assert ids(post(client, user_id="user-3", rules=pin))[1] == seen
    for refused in (
        {"rules": {**pin, "block": [{"category": category}]}},
        {"rules": pin, "exclude": [seen]},
        {"rules": pin, "disliked": [seen]},
        {"rules": pin, "category": ["lamp" if category != "lamp" else "rug"]},
    ):
        assert seen not in ids(post(client, user_id="user-3", k=40, **refused))


def test_a_pin_beyond_the_end_of_a_list_goes_to_its_end(client: httpx.Client) -> None:
    rules = {"pin": [{"item_id": "item-0", "position": 30}], "require": [{"category": "chair"}]}
    answer = post(client, k=40, rules=rules)
    assert ids(answer)[-1] == "item-0"
    assert len(answer["items"]) == 10


def test_rules_hold_for_what_is_popular_too(client: httpx.Client, bundle: Bundle) -> None:
    rules = {"boost": [{"category": "rug", "by": 50}], "pin": [{"item_id": "item-0", "position": 1}]}
    (answer,) = batch(client, user_ids=["nobody"], rules=rules, k=11, explain=True)
    assert answer["source"] == "popular"
    assert ids(answer)[0] == "item-0"
    order = sorted(rows_with(bundle, "category", "rug"), key=lambda row: -bundle.popularity_trend[row])
    assert ids(answer)[1:] == [item(row) for row in order]
    assert answer["items"][1]["explanation"]["rules"] == pytest.approx(50 * float(bundle.popularity_trend.std()), 1e-4)
    assert answer["items"][1]["explanation"]["sentence"].endswith("A rule moved it up.")


def test_items_that_the_bundle_lacks_are_named_and_change_nothing(client: httpx.Client) -> None:
    rules = {
        "pin": [{"item_id": "gone-1", "position": 1}],
        "boost": [{"item_id": "gone-2", "by": 1}],
        "block": [{"item_id": "gone-1b"}],
    }
    answer = post(client, user_id="user-3", rules=rules)
    assert answer["unknown_items"] == ["gone-1", "gone-2", "gone-1b"]
    assert answer["items"] == post(client, user_id="user-3")["items"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            {"pin": [{"item_id": "a", "position": 0}]},
            "rules.pin.0.position: input should be greater than or equal to 1",
        ),
        (
            {"pin": [{"item_id": "a", "position": 1}, {"item_id": "b", "position": 1}]},
            "pin: position 1 appears twice, expected each once",
        ),
        (
            {"pin": [{"item_id": "a", "position": 1}, {"item_id": "a", "position": 2}]},
            "pin: item_id 'a' appears twice, expected each once",
        ),
        ({"pin": [{"item_id": "a", "position": 1}], "block": [{"item_id": "a"}]}, "'a' is both pinned and blocked"),
        ({"boost": [{"item_id": "a", "by": 1001}]}, "rules.boost.0.by: input should be less than or equal to 1000"),
        ({"boost": [{"item_id": "a"}]}, "rules.boost.0.by: field required"),
        ({"boost": [{"by": 1}]}, "expected one of item_id, category, attribute, found none"),
        ({"block": [{"item_id": "a", "category": "lamp"}]}, "found item_id and category"),
        ({"block": [{"attribute": "material"}]}, "expected attribute and value together"),
        ({"block": [{"category": "lamp", "value": "oak"}]}, "expected attribute and value together"),
        ({"block": [{"attribute": "weight", "value": 3}]}, "by 'weight'; known are category, material"),
        ({"require": [{"item_id": "a"}]}, "expected category or attribute, found item_id"),
        ({"bost": []}, "rules.bost: extra inputs are not permitted"),
        ({"block": [{"item_id": f"a{i}"} for i in range(501)]}, "rules.block has 501 entries, the limit is 500"),
    ],
)
def test_a_wrong_rule_is_refused_with_what_was_expected(client: httpx.Client, rules: dict[str, Any], said: str) -> None:
    response = client.post("/recommend", json={"rules": rules})
    assert response.status_code == 422
    assert said in response.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999"])
def test_a_boost_that_is_no_finite_number_is_refused(client: httpx.Client, number: str) -> None:
    body = f'{{"rules": {{"boost": [{{"item_id": "a", "by": {number}}}]}}}}'
    response = client.post("/recommend", content=body)
    assert response.status_code == 422
    assert "invalid JSON" in response.json()["detail"]
