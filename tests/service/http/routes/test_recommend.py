from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import make_content
from servers import publish, serving

from index.bundle import Bundle
from service.http.responses import RecommendAnswer

TO_THE_SCORE = 1e-4


def ask(client: httpx.Client, user_id: str, **query: Any) -> dict[str, Any]:
    response = client.get(f"/recommend/{user_id}", params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    RecommendAnswer.model_validate(answer)  # what is documented is what is sent
    return answer


def best(bundle: Bundle, user: int, k: int, left_out: np.ndarray) -> list[str]:
    """The k best items by sorting the whole catalogue."""
    scores = bundle.item_embeddings @ bundle.user_embeddings[user]
    scores[left_out] = -np.inf
    return [bundle.item_ids[row] for row in np.argsort(-scores)[:k]]


def test_a_user_gets_the_items_of_the_highest_scores_without_those_seen(client: httpx.Client, bundle: Bundle) -> None:
    answer = ask(client, "user-3", k=7)
    assert (answer["source"], answer["user_id"]) == ("user", "user-3")
    assert answer["bundle"] == bundle.bundle_id
    assert [item["item_id"] for item in answer["items"]] == best(bundle, 3, 7, bundle.seen(3))
    assert [item["rank"] for item in answer["items"]] == list(range(1, 8))


def test_seen_items_come_back_when_they_are_asked_for(client: httpx.Client, bundle: Bundle) -> None:
    answer = ask(client, "user-3", k=40, exclude_seen=False)
    assert [item["item_id"] for item in answer["items"]] == best(bundle, 3, 40, np.empty(0, int))


def test_no_user_is_shown_what_they_had(client: httpx.Client, bundle: Bundle) -> None:
    for user in range(len(bundle.user_ids) - 1):
        seen = {bundle.item_ids[row] for row in bundle.seen(user)}
        shown = {item["item_id"] for item in ask(client, f"user-{user}", k=100)["items"]}
        assert not seen & shown
        assert len(seen | shown) == len(bundle.item_ids)


def test_items_carry_what_a_person_sees(client: httpx.Client, bundle: Bundle) -> None:
    first = ask(client, "user-3", k=1)["items"][0]
    row = bundle.item_ids.row(first["item_id"])
    assert row is not None
    known = bundle.item(row)
    assert {name: first[name] for name in ("title", "category", "image")} == {
        name: known[name] for name in ("title", "category", "image")
    }


def test_every_explanation_sums_to_its_score_twice(client: httpx.Client, bundle: Bundle) -> None:
    for user in range(len(bundle.user_ids)):
        for item in ask(client, f"user-{user}", k=10, explain=True)["items"]:
            why = item["explanation"]
            assert set(why["parts"]) == set(bundle.item_parts)
            assert sum(why["parts"].values()) == pytest.approx(item["score"], abs=TO_THE_SCORE)
            by_past = sum(past["contribution"] for past in why["past_items"])
            total = by_past + why["other_past_items"] + why["user_own"]
            assert total == pytest.approx(item["score"], abs=TO_THE_SCORE)
            assert len(why["past_items"]) == min(3, len(bundle.seen(user)))
            assert "rank_without" not in why["past_items"][0] if why["past_items"] else True


def test_past_items_are_the_users_own_the_weightiest_first(client: httpx.Client, bundle: Bundle) -> None:
    seen = {bundle.item_ids[row] for row in bundle.seen(3)}
    for item in ask(client, "user-3", explain=True)["items"]:
        past = item["explanation"]["past_items"]
        assert {one["item_id"] for one in past} <= seen
        weights = [one["contribution"] for one in past]
        assert weights == sorted(weights, reverse=True)


def test_a_counterfactual_rank_is_that_of_a_bundle_without_the_past_item(tmp_path: Path) -> None:
    content = make_content(
        n_users=1, n_items=30, seed=5, seen_offsets=np.array([0, 4]), seen_items=np.int32([1, 2, 3, 4])
    )
    whole = _with_history(tmp_path / "whole", content, [1, 2, 3, 4])
    with serving(registry=whole) as client:
        items = ask(client, "user-0", k=5, explain=True, counterfactual=True)["items"]
    told = items[2]["explanation"]["past_items"][0]
    rest = [row for row in (1, 2, 3, 4) if f"item-{row}" != told["item_id"]]
    without = _with_history(tmp_path / "without", content, rest)
    with serving(registry=without) as client:
        ranks = {item["item_id"]: item["rank"] for item in ask(client, "user-0", k=100)["items"]}
    assert told["rank_without"] == ranks[items[2]["item_id"]]


def _with_history(registry: Path, content: Any, rows: list[int]) -> Path:
    """Publish the content with one user who had exactly these items."""
    vector = content.user_own[0] + len(rows) ** -0.5 * content.fold_in[rows].sum(axis=0)
    publish(
        registry,
        make_content(
            n_users=1,
            n_items=30,
            seed=5,
            user_own=content.user_own,
            user_embeddings=vector[None].astype(np.float32),
            seen_offsets=np.array([0, len(rows)]),
            seen_items=np.int32(rows),
            popularity_count=np.bincount(rows, minlength=30),
        ),
    )
    return registry


def sentences(client: httpx.Client) -> list[tuple[str, dict[str, Any]]]:
    """The explanations of the first items of every user with a vector."""
    answers = [ask(client, f"user-{row}", k=10, explain=True) for row in range(30)]
    shown = [item for answer in answers if answer["source"] == "user" for item in answer["items"]]
    return [(item["explanation"]["sentence"], {"score": item["score"], **item["explanation"]}) for item in shown]


def test_a_sentence_gives_as_the_reason_only_what_carries_more_than_half_of_the_score(client: httpx.Client) -> None:
    found = sentences(client)
    for sentence, shares in found:
        named = [item["contribution"] for item in shares["past_items"][:2] if item["title"] in sentence]
        assert all(contribution > 0 for contribution in named)
        if sentence.startswith("Because you had"):
            assert sum(named) > shares["score"] / 2 > 0
        elif sentence.startswith("Because"):
            assert shares["user_own"] > shares["score"] / 2 > 0
    assert {sentence.split()[0] for sentence, _ in found} >= {"Because", "Among"}


def test_where_fold_in_is_approximate_no_sentence_speaks_of_a_taste_of_ones_own(tmp_path: Path) -> None:
    publish(tmp_path, make_content(fold_in_exact=False))
    with serving(registry=tmp_path) as client:
        said = [sentence for sentence, _ in sentences(client)]
    assert any("beyond your past items" in sentence for sentence in said)
    assert not any("taste" in sentence for sentence in said)


def test_an_unknown_user_gets_what_is_popular_and_is_told_so(client: httpx.Client, bundle: Bundle) -> None:
    answer = ask(client, "nobody", k=5, explain=True)
    assert answer["source"] == "popular"
    order = np.argsort(-bundle.popularity_trend, kind="stable")[:5]
    assert [item["item_id"] for item in answer["items"]] == [bundle.item_ids[row] for row in order]
    count = bundle.popularity_count[order[0]]
    people = "1 person" if count == 1 else f"{count} people"
    assert answer["items"][0]["explanation"]["sentence"].startswith(f"Popular: {people} had it")


def test_a_known_user_of_whom_nothing_was_learned_gets_what_is_popular(tmp_path: Path) -> None:
    content = make_content()
    content.user_own[-1] = content.user_embeddings[-1] = 0  # the last user has no past either
    publish(tmp_path, content)
    with serving(registry=tmp_path) as client:
        assert ask(client, "user-29")["source"] == "popular"


def test_a_bundle_with_some_parts_explains_by_those(tmp_path: Path) -> None:
    content = make_content()
    parts = {name: content.item_parts[name] for name in ("id", "image")}
    publish(tmp_path, make_content(item_parts=parts, item_embeddings=parts["id"] + parts["image"]))
    with serving(registry=tmp_path) as client:
        why = ask(client, "user-1", explain=True)["items"][0]["explanation"]
    assert set(why["parts"]) == {"id", "image"}


def test_the_operator_says_how_many_past_items_are_named(registry: Path) -> None:
    with serving(registry=registry, past_items=1, k_default=2) as client:
        items = ask(client, "user-3", explain=True)["items"]
    assert [len(item["explanation"]["past_items"]) for item in items] == [1, 1]


@pytest.mark.parametrize(
    ("k", "said"),
    [
        ("0", "k: input should be greater than or equal to 1, found '0'"),
        ("-1", "k: input should be greater than or equal to 1, found '-1'"),
        ("1000000000", "k: input should be less than or equal to 500, found '1000000000'"),
        ("ten", "k: input should be a valid integer"),
        ("1.5", "k: input should be a valid integer"),
        ("", "k: input should be a valid integer"),
        ("9" * 5000, "k: "),
    ],
)
@pytest.mark.parametrize("path", ["/recommend/user-1", "/similar/item-1", "/popular"])
def test_a_k_out_of_bounds_is_refused_and_the_limit_named(client: httpx.Client, path: str, k: str, said: str) -> None:
    response = client.get(path, params={"k": k})
    assert response.status_code == 422
    assert response.json()["error"] == "invalid_request"
    assert response.json()["detail"].startswith(said)


def test_a_misspelt_or_unreadable_parameter_is_refused_by_name(client: httpx.Client) -> None:
    for query, said in [
        ("explian=true", "explian: extra inputs are not permitted"),
        ("explain=maybe", "explain: input should be a valid boolean"),
        ("k=%FF", "query: 'utf-8' codec"),
        ("&".join("a=1" for _ in range(9_000)), "query: "),
    ]:
        response = client.get(f"/recommend/user-1?{query}")
        assert response.status_code == 422
        assert said in response.json()["detail"]
