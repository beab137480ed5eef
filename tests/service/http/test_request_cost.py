"""What requests cost: the limit of one, and what a rate limit counts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import serving

from service.client import Client, TooCostly
from service.http.security.keys import new_key
from service.ranking.turns import Turn

EVERYTHING = {"k": 40, "explain": True, "counterfactual": True, "diversity": 0.5}
TWENTY = [f"user-{number}" for number in range(20)]


@pytest.fixture(scope="module")
def cheap(registry: Path) -> Iterator[httpx.Client]:
    """A service where a request may cost 40 tokens."""
    with serving(registry=registry, request_cost_max=40) as client:
        yield client


@pytest.fixture(scope="module")
def strict(registry: Path) -> Iterator[httpx.Client]:
    """A service where a request may cost one token."""
    with serving(registry=registry, request_cost_max=1) as client:
        yield client


def test_a_request_above_the_limit_is_refused_with_its_cost_the_limit_and_a_way_out(cheap: httpx.Client) -> None:
    response = cheap.post("/recommend/batch", json={"user_ids": TWENTY, **EVERYTHING})
    assert (response.status_code, response.json()["error"]) == (422, "too_costly")
    assert response.json()["detail"] == (
        "this request costs 98, the limit is 40 (RECO_REQUEST_COST_MAX): "
        "20 users x 40 items with counterfactual, explain, diversity; "
        "expected at most 8 users at once, a smaller k or no counterfactual"
    )
    assert cheap.post("/recommend/batch", json={"user_ids": TWENTY[:8], **EVERYTHING}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "cost"),
    [
        ("/recommend", {"rules": {"block": [{"item_id": "a"}] * 500}, "exclude": ["a"] * 500, **EVERYTHING}, 24),
        ("/recommend", {"items": [{"item_id": "a"}] * 500, "liked": ["a"] * 500, "disliked": ["a"] * 500}, 31),
        ("/recommend/batch", {"user_ids": ["a"] * 39, "k": 250}, 78),
        ("/recommend/batch", {"user_ids": ["a"] * 13, "category_cap": 1}, 39),
        ("/recommend/batch", {"user_ids": ["a"] * 14, "seed": 1}, 43),
        ("/recommend/batch", {"user_ids": ["a"] * 39}, 40),
        ("/recommend/batch", {"user_ids": ["a"] * 40}, 41),
    ],
)
def test_the_cost_is_what_the_page_says(cheap: httpx.Client, path: str, body: dict[str, Any], cost: int) -> None:
    response = cheap.post(path, json=body)
    assert response.status_code == (200 if cost <= 40 else 422), response.text
    if cost > 40:
        assert f"costs {cost}, the limit is 40" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "cost"),
    [
        ("/recommend/user-1?explain=true&k=500&offset=500", 25),
        ("/similar/item-1?k=500&explain=true", 23),
        ("/popular?k=500&category=lamp", 3),
        ("/trending?k=500", 3),
        ("/trending?half_life_hours=2", 21),
        ("/recommend/user-1?k=249", 1),
        ("/similar/item-1?explain=true", 1),
    ],
)
def test_a_get_costs_what_the_page_says(strict: httpx.Client, path: str, cost: int) -> None:
    response = strict.get(path)
    assert response.status_code == (422 if cost > 1 else 200), response.text
    if cost > 1:
        assert f"costs {cost}, the limit is 1 " in response.json()["detail"]


def test_the_python_client_knows_the_error(cheap: httpx.Client) -> None:
    with Client(str(cheap.base_url)) as client, pytest.raises(TooCostly, match="costs 98, the limit is 40"):
        client.recommend_batch(TWENTY, **EVERYTHING)


@pytest.mark.parametrize(
    ("path", "body", "pauses"),
    [
        ("/recommend/batch", {"user_ids": TWENTY[:8], **EVERYTHING}, 8 * 5),
        ("/recommend/batch", {"user_ids": TWENTY[:8]}, 8 * 2),
        ("/recommend", {"user_id": "user-1", "rules": {"block": [{"item_id": "a"}]}, **EVERYTHING}, 7),
        ("/similar/item-1?explain=true&k=30", None, 30),
        ("/popular?category=lamp", None, 2),
    ],
)
def test_what_is_expensive_pauses_between_its_parts(
    cheap: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, pauses: int
) -> None:
    counted: list[Turn] = []

    async def pause(turn: Turn) -> None:
        counted.append(turn)

    monkeypatch.setattr(Turn, "pause", pause)
    response = cheap.get(path) if body is None else cheap.post(path, json=body)
    assert response.status_code == 200, response.text
    assert len(counted) >= pauses


def test_a_rate_limit_counts_tokens(registry: Path, tmp_path: Path) -> None:
    key, line = new_key("shop", "write")
    limited = {**json.loads(line), "rate_limit_per_s": 0.01, "rate_limit_burst": 30}
    (tmp_path / "keys.jsonl").write_text(json.dumps(limited))
    headers = {"X-API-Key": key}
    with serving(registry=registry, api_keys_file=tmp_path / "keys.jsonl", data=tmp_path) as client:
        batch = {"user_ids": TWENTY}
        assert client.get("/recommend/user-1", headers=headers).status_code == 200
        assert client.post("/recommend/batch", headers=headers, json=batch).status_code == 200
        refused = client.post("/recommend/batch", headers=headers, json=batch)
        assert (refused.status_code, refused.json()["error"]) == (429, "rate_limited")
        assert "; this one counts as 20; retry in" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 100
        assert client.get("/recommend/user-1", headers=headers).status_code == 200
        click = {"user_id": "user-1", "item_id": "item-1", "kind": "click"}
        assert client.post("/events", headers=headers, json=[click] * 1_000).status_code == 429
        assert client.post("/events", headers=headers, json=[click] * 199).status_code == 202
