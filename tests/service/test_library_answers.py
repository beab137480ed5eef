"""A bundle that is asked in Python gives what the service gives over HTTP for the same bundle."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import N_ITEMS, post
from bundles import make_content, write_small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import serving

from index import open_bundle
from index.recency import Recency
from index.recommending.answers import RecommendedItem
from index.recommending.asked_bundle import AskedBundle
from index.registry import Registry

BUNDLES: dict[str, dict[str, Any]] = {
    "flat": {},
    "ivf": {"factory": "IVF4,Flat"},
    "rounded, with recency": {"precision": "int8", "recency": Recency(tau=3, floor=0.1), "has_own": False},
}
KNOWN = [f"user-{row}" for row in range(30)]  # the last has no past, but a vector of its own in some bundles
ITEMS = st.lists(st.sampled_from([f"item-{row}" for row in range(N_ITEMS)] + ["nonsense"]), max_size=4)


@pytest.fixture(scope="module", params=BUNDLES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    registry: Path = tmp_path_factory.mktemp("registry")
    Registry(registry).publish(write_small_bundle(registry, **BUNDLES[request.param]).name)
    with serving(registry=registry) as client:
        yield open_bundle(registry), client


def as_json(item: RecommendedItem, *, counterfactual: bool) -> dict[str, Any]:
    """The item as the service's JSON has it."""
    told: dict[str, Any] = asdict(item)
    explanation = told.pop("explanation")
    if explanation is not None:
        for past in explanation["past_items"]:
            if past["weight"] == 1:
                del past["weight"]
            if not counterfactual:
                del past["rank_without"]
        explanation["past_items"] = list(explanation["past_items"])
        if not explanation["parts"]:
            explanation = {"sentence": explanation["sentence"]}
        told["explanation"] = explanation
    return told


def is_same(bundle: AskedBundle, answer: dict[str, Any], *, counterfactual: bool, **asked: Any) -> None:
    found = bundle.recommend(**asked, counterfactual=counterfactual)
    assert [as_json(item, counterfactual=counterfactual) for item in found] == answer["items"]
    assert found.source == answer["source"]
    assert list(found.unknown_items) == answer.get("unknown_items", [])
    for item in found if found.source != "popular" else ():
        why = item.explanation
        assert why is not None
        by_past = sum(past.contribution for past in why.past_items) + why.other_past_items + why.user_own
        assert sum(why.parts.values()) == pytest.approx(item.score, abs=1e-4)
        assert by_past == pytest.approx(item.score, abs=1e-4)


@given(user=st.sampled_from([*KNOWN, "a stranger"]), k=st.integers(1, 60), seen=st.booleans(), ranks=st.booleans())
@settings(max_examples=25)
def test_a_user_gets_the_services_list(
    both: tuple[AskedBundle, httpx.Client], user: str, k: int, seen: bool, ranks: bool
) -> None:
    bundle, client = both
    asked = {"k": k, "exclude_seen": seen, "explain": True, "counterfactual": ranks}
    response = client.get(f"/recommend/{user}", params={name: str(value).lower() for name, value in asked.items()})
    is_same(bundle, response.json(), user_id=user, k=k, exclude_seen=seen, counterfactual=ranks)


@given(user=st.sampled_from([None, *KNOWN, "a stranger"]), items=ITEMS, ranks=st.booleans())
@settings(max_examples=25)
def test_a_session_gets_the_services_list(
    both: tuple[AskedBundle, httpx.Client], user: str | None, items: list[str], ranks: bool
) -> None:
    bundle, client = both
    body = {"items": [{"item_id": one} for one in items], "k": 7, "explain": True, "counterfactual": ranks}
    answer = post(client, **body, **({} if user is None else {"user_id": user}))
    is_same(bundle, answer, user_id=user, items=items, k=7, counterfactual=ranks)


@pytest.mark.parametrize("by", ["fused", "text", "id"])
def test_neighbours_are_the_services(both: tuple[AskedBundle, httpx.Client], by: str) -> None:
    bundle, client = both
    answer = client.get("/similar/item-3", params={"by": by, "k": 5, "explain": "true"}).json()
    found = [asdict(one) for one in bundle.similar("item-3", 5, by=by)]
    for one in found:
        one["explanation"] = {name: one.pop(name) for name in ("cosines", "users_in_common")}
    for one, expected in zip(found, answer["items"], strict=True):
        assert one["explanation"]["cosines"] == pytest.approx(expected["explanation"].pop("cosines"), abs=1e-6)
        del one["explanation"]["cosines"]
        assert one == expected


def test_the_explanation_of_one_item_is_that_of_the_list(both: tuple[AskedBundle, httpx.Client]) -> None:
    bundle, _ = both
    for user in ("user-3", "a stranger"):
        for item in bundle.recommend(user, k=5, counterfactual=True):
            one = bundle.explain(user, item.item_id)
            assert replace(one, explanation=None) == replace(item, explanation=None)
            assert one.explanation is not None
            assert item.explanation is not None
            assert one.why == item.why
            assert one.explanation.parts == pytest.approx(item.explanation.parts, abs=1e-5)
            pairs = zip(one.explanation.past_items, item.explanation.past_items, strict=True)
            for past, expected in pairs:
                assert past.contribution == pytest.approx(expected.contribution, abs=1e-5)  # BLAS rounds by the shape
                assert replace(past, contribution=0) == replace(expected, contribution=0)


def test_a_space_that_is_too_large_to_copy_is_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_small_bundle(tmp_path)
    copied = open_bundle(path).similar("item-3", 50)
    monkeypatch.setattr("index.recommending.spaces.MOST_COPIED", 0)
    scanned = open_bundle(path).similar("item-3", 50)
    assert [one.item_id for one in scanned] == [one.item_id for one in copied]
    assert len(copied) == make_content().item_embeddings.shape[0] - 1
