"""Whatever is asked, the answer is an answer or a refusal that says why: never a fault of ours."""

import json
from typing import Any

import asking
import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.requests import BatchBody, RecommendQuery, SessionBody, SimilarQuery
from service.http.responses import BatchAnswer, Refusal, SessionAnswer

law = settings(max_examples=80)

words = st.one_of(st.text(st.characters(), max_size=12), st.sampled_from(["item-1", "lamp", "oak"]))
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats())
scalars = st.one_of(st.none(), st.booleans(), numbers, words)
names = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["item_id", "weight", "position", "by", "category", "attribute", "value", "pin", "boost", "block"]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=8,
)


def bodies(model: Any, likely: Any) -> Any:
    """A body that is right, with up to three of its fields made anything."""
    spoilt = st.dictionaries(st.sampled_from(sorted(model.model_fields)), anything, max_size=3)
    return st.builds(lambda right, wrong: {**right, **wrong}, likely, spoilt)


@law
@given(bodies(SessionBody, asking.sessions))
def test_any_session_is_answered_or_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    response = client.post("/recommend", content=json.dumps(body))
    assert response.status_code in (200, 422), response.text
    (SessionAnswer if response.status_code == 200 else Refusal).model_validate(response.json())


@law
@given(bodies(BatchBody, st.just({"user_ids": ["user-1", "nobody"]})), asking.rules, asking.orders)
def test_any_batch_is_answered_or_refused(
    client: httpx.Client, body: dict[str, Any], rules: dict[str, Any], order: dict[str, Any]
) -> None:
    response = client.post("/recommend/batch", content=json.dumps({"rules": rules, **order, **body}))
    assert response.status_code in (200, 422), response.text
    (BatchAnswer if response.status_code == 200 else Refusal).model_validate(response.json())


@law
@given(st.dictionaries(st.sampled_from(sorted({*RecommendQuery.model_fields, *SimilarQuery.model_fields})), scalars))
def test_any_query_is_answered_or_refused(client: httpx.Client, query: dict[str, Any]) -> None:
    text = {name: str(value) for name, value in query.items() if value is not None and str(value).isprintable()}
    allowed = (200, 422, 404) if "force_arm" in text else (200, 422)  # no experiment runs
    for path in ("/recommend/user-1", "/similar/item-1"):
        response = client.get(path, params=text)
        assert response.status_code in allowed, response.text
