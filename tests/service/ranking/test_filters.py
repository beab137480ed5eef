from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Reference, rows_with

from index.bundle import Bundle
from service.http.responses import RecommendAnswer

law = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

CATEGORIES = ["chair", "lamp", "table", "rug", "sofa"]  # no item is a sofa
MATERIALS = ["oak", "brass", "wool", "glass"]


def ask(client: httpx.Client, user_id: str, **query: Any) -> dict[str, Any]:
    response = client.get(f"/recommend/{user_id}", params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    RecommendAnswer.model_validate(answer)
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


asked = st.fixed_dictionaries(
    {
        "user": st.integers(0, 28),
        "category": st.lists(st.sampled_from(CATEGORIES), max_size=2),
        "material": st.lists(st.sampled_from(MATERIALS), max_size=2),
        "exclude": st.lists(st.integers(0, 45), max_size=5),  # ids beyond the catalogue are nothing to leave out
        "exclude_seen": st.booleans(),
        "k": st.integers(1, 40),
        "offset": st.integers(0, 20),
    }
)


@law
@given(asked)
def test_a_filtered_page_is_that_part_of_the_catalogue_sorted_and_filtered(
    client: httpx.Client, bundle: Bundle, asked: dict[str, Any]
) -> None:
    user, k, offset = asked["user"], asked["k"], asked["offset"]
    left_out = set(asked["exclude"]) | (set(bundle.seen(user).tolist()) if asked["exclude_seen"] else set())
    for name in ("category", "material"):
        if asked[name]:
            left_out |= set(range(len(bundle.item_ids))) - rows_with(bundle, name, *asked[name])
    expected = Reference(bundle, bundle.user_embeddings[user], left_out).ids()[offset : offset + k]
    answer = ask(
        client,
        f"user-{user}",
        **{name: asked[name] for name in ("k", "offset", "exclude_seen", "category")},
        require=[f"material:{one}" for one in asked["material"]],
        exclude=[f"item-{row}" for row in asked["exclude"]],
    )
    assert ids(answer) == expected
    assert [item["rank"] for item in answer["items"]] == list(range(offset + 1, offset + 1 + len(expected)))
    assert answer["missing"] == k - len(expected)


def test_what_is_popular_can_be_filtered_and_paged_too(client: httpx.Client, bundle: Bundle) -> None:
    order = sorted(range(40), key=lambda row: -bundle.popularity_trend[row])
    lamps = [f"item-{row}" for row in order if row in rows_with(bundle, "category", "lamp")]
    answer = ask(client, "nobody", k=4, offset=3, category="lamp", exclude=lamps[4], explain=True)
    assert (answer["source"], ids(answer)) == ("popular", [lamps[3], *lamps[5:8]])


def test_as_many_may_be_excluded_in_a_query_as_the_document_says(client: httpx.Client) -> None:
    query = "&".join(f"exclude=item-{i}" for i in range(500))
    assert client.get(f"/popular?{query}").json()["missing"] == 10


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("require=weight:3", "no item can be chosen by 'weight'; known are category, material"),
        ("require=oak", "require: expected name:value, found 'oak'"),
        ("require=:oak", "require: expected name:value, found ':oak'"),
        ("offset=-1", "offset: input should be greater than or equal to 0, found '-1'"),
        ("offset=995&k=6", "offset + k is 1001, the limit is 1000"),
        ("diversity=1.5", "diversity: input should be less than or equal to 1, found '1.5'"),
        ("diversity=nan", "diversity: input should be"),
        ("diversity_by=sound", "by: input should be 'fused', 'id', 'text', 'image' or 'multimodal', found 'sound'"),
        ("category_cap=0", "category_cap: input should be greater than or equal to 1, found '0'"),
        ("seed=-1", "seed: input should be greater than or equal to 0, found '-1'"),
        (f"seed={2**53}", f"seed: input should be less than or equal to {2**53 - 1}"),
        ("&".join(["exclude=a"] * 501), "exclude: tuple should have at most 500 items"),
        ("&".join(["exclude=a"] * 2_065), "query: has more than 2064 parameters, the limit"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_was_expected(client: httpx.Client, query: str, said: str) -> None:
    response = client.get(f"/recommend/user-1?{query}")
    assert response.status_code == 422
    assert said in response.json()["detail"]
