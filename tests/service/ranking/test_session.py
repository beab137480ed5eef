from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import httpx
import pytest
from asking import batch, ids, item, post
from bundles import make_content
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Reference, folded
from servers import publish, serving

from index.bundle import Bundle
from index.recency import Recency

LIKED, DISLIKED = 2.0, -0.5  # the settings' defaults


def expected(bundle: Bundle, session: dict[str, Any], *, exclude_seen: bool) -> Reference | None:
    """What a session's list should be, by hand; None where nothing is known of it."""
    user = session["user_id"]
    row = None if user is None else bundle.user_ids.row(user)
    past = {} if row is None else dict.fromkeys(bundle.seen(row).tolist(), 1.0)
    named = [(one["item_id"], one["weight"]) for one in session["items"]]
    named += [(one, LIKED) for one in session["liked"]] + [(one, DISLIKED) for one in session["disliked"]]
    for item_id, weight in named:
        past.pop(int(item_id.removeprefix("item-")), None)
        past[int(item_id.removeprefix("item-"))] = weight
    vector = folded(bundle, past, None if row is None else bundle.user_own[row])
    disliked = {int(one.removeprefix("item-")) for one in session["disliked"]}
    left_out = disliked | set(past) if exclude_seen else disliked
    return Reference(bundle, vector, left_out) if vector.any() else None


@settings(max_examples=40)
@given(asking.sessions, st.booleans(), st.integers(1, 40))
def test_a_session_is_answered_by_the_very_vector_that_its_items_give(
    client: httpx.Client, bundle: Bundle, session: dict[str, Any], exclude_seen: bool, k: int
) -> None:
    check_session(client, bundle, session, exclude_seen=exclude_seen, k=k)


@pytest.fixture(scope="module")
def by_recency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Bundle]]:
    bundle = publish(tmp_path_factory.mktemp("by-recency"), make_content(recency=Recency(tau=3), has_own=False))
    with serving(registry=bundle.path.parent) as client:
        yield client, bundle


@settings(max_examples=40)
@given(asking.sessions, st.booleans(), st.integers(1, 40))
def test_a_session_makes_all_of_the_past_older_where_recency_counts(
    by_recency: tuple[httpx.Client, Bundle], session: dict[str, Any], exclude_seen: bool, k: int
) -> None:
    check_session(*by_recency, session, exclude_seen=exclude_seen, k=k)


def check_session(client: httpx.Client, bundle: Bundle, session: dict[str, Any], *, exclude_seen: bool, k: int) -> None:
    answer = post(client, **session, exclude_seen=exclude_seen, k=k)
    found = expected(bundle, session, exclude_seen=exclude_seen)
    if found is None:
        assert answer["source"] == "popular"
        return
    named = session["items"] or session["liked"] or session["disliked"]
    assert answer["source"] == ("session" if named else "user")
    assert [one["score"] for one in answer["items"]] == pytest.approx(found.scores()[found.rows()[:k]], abs=1e-4)
    assert ids(answer) == found.ids()[:k]


def test_a_session_of_what_a_user_had_gives_that_user_without_the_own_term(
    client: httpx.Client, bundle: Bundle
) -> None:
    seen = [item(row) for row in bundle.seen(3)]
    answer = post(client, items=[{"item_id": one} for one in seen], k=3, explain=True)
    vector = bundle.user_embeddings[3] - bundle.user_own[3]
    assert ids(answer) == Reference(bundle, vector, set(bundle.seen(3).tolist())).ids()[:3]
    assert answer["items"][0]["explanation"]["user_own"] == 0
    assert "you looked at" in answer["items"][0]["explanation"]["sentence"]


def test_what_the_bundle_lacks_is_listed_and_a_session_of_nothing_else_gets_what_is_popular(
    client: httpx.Client,
) -> None:
    gone = [{"item_id": "gone-1"}, {"item_id": "gone-2"}]
    answer = post(client, items=gone, liked=["gone-1"], disliked=["gone-3"])
    assert (answer["source"], answer["user_id"]) == ("popular", None)
    assert answer["unknown_items"] == ["gone-1", "gone-2", "gone-3"]
    assert post(client)["source"] == "popular"
    assert post(client, user_id="nobody", items=gone)["source"] == "popular"
    assert post(client, user_id="user-3", items=gone)["source"] == "user"
    assert post(client, items=[*gone, {"item_id": "item-1"}])["source"] == "session"


def test_what_was_disliked_is_never_shown_even_where_seen_items_are(client: httpx.Client) -> None:
    answer = post(client, liked=["item-1"], disliked=["item-2", "item-3"], exclude_seen=False, k=40)
    assert not {"item-2", "item-3"} & set(ids(answer))
    assert "item-1" in ids(answer)


def test_an_item_counts_as_it_was_named_last(client: httpx.Client) -> None:
    changed = post(client, items=[{"item_id": "item-1", "weight": 4}], liked=["item-2"], disliked=["item-1"], k=9)
    assert changed["items"] == post(client, liked=["item-2"], disliked=["item-1"], k=9)["items"]


def test_a_dislike_that_counts_is_told_with_its_weight(client: httpx.Client) -> None:
    shown = post(client, items=[{"item_id": "item-1", "weight": 3}], disliked=["item-2"], k=40, explain=True)["items"]
    past = {one["item_id"]: one for one in shown[0]["explanation"]["past_items"]}
    assert (past["item-1"]["weight"], past["item-2"]["weight"]) == (3.0, DISLIKED)
    sentences = [one["explanation"]["sentence"] for one in shown]
    assert any("you did not like" in one for one in sentences)


def test_an_operator_may_let_dislikes_only_leave_items_out(registry: Path) -> None:
    with serving(registry=registry, session_dislike_weight=0) as client:
        answer = post(client, liked=["item-1"], disliked=["item-2"], k=40)
        plain = post(client, liked=["item-1"], k=40)
    assert ids(answer) == [one for one in ids(plain) if one != "item-2"]


def test_a_user_of_a_batch_whose_id_is_wrong_fails_alone(client: httpx.Client) -> None:
    answers = batch(client, user_ids=["user-1", "", "x" * 513, "nobody", "user-1"])
    assert [answer.get("source") for answer in answers] == ["user", None, None, "popular", "user"]
    assert answers[0] == answers[4]
    assert answers[1] == {
        "user_id": "",
        "error": "invalid_request",
        "detail": "user_id: is empty, expected 1 to 512 characters",
    }
    assert answers[2]["detail"] == "user_id: has 513 characters, the limit is 512"


def test_a_user_of_a_batch_whom_the_operator_refuses_fails_alone(registry: Path) -> None:
    with serving(registry=registry, unknown_user="404") as client:
        first, second = batch(client, user_ids=["nobody", "user-1"])
        alone = client.get("/recommend/nobody").json()
    assert (first["error"], first["detail"]) == (alone["error"], alone["detail"])
    assert second["source"] == "user"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/recommend", {"items": [{"item_id": "a", "weight": 0}]}, "items.0.weight: input should be greater than 0"),
        ("/recommend", {"items": ["a"]}, "items.0: input should be an object"),
        ("/recommend", {"liked": [""]}, "liked.0: string should have at least 1 character"),
        ("/recommend", {"liked": ["a"] * 501}, "liked has 501 entries, the limit is 500"),
        ("/recommend", {"user_id": "x" * 513}, "user_id: string should have at most 512 characters"),
        ("/recommend", {"session": []}, "session: extra inputs are not permitted"),
        ("/recommend", {"k": 501}, "k: input should be less than or equal to 500"),
        ("/recommend/batch", {}, "user_ids: field required"),
        ("/recommend/batch", {"user_ids": []}, "user_ids: tuple should have at least 1 item"),
        ("/recommend/batch", {"user_ids": ["a"] * 101}, "user_ids has 101 entries, the limit is 100"),
        ("/recommend/batch", {"user_ids": [7]}, "user_ids.0: input should be a valid string"),
    ],
)
def test_a_wrong_body_is_refused_with_what_was_expected(
    client: httpx.Client, path: str, body: dict[str, Any], said: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 422
    assert said in response.json()["detail"]


def test_limits_of_a_call_are_the_operators(registry: Path) -> None:
    with serving(registry=registry, batch_max=2, entries_max=1, depth_max=20, k_max=20) as client:
        assert client.post("/recommend/batch", json={"user_ids": ["a"] * 3}).status_code == 422
        assert client.post("/recommend", json={"exclude": ["a", "b"]}).status_code == 422
        assert client.get("/recommend/user-1?exclude=a&exclude=b").status_code == 422
        assert client.get("/recommend/user-1?k=10&offset=11").status_code == 422
        assert client.get("/recommend/user-1?k=10&offset=10").status_code == 200
