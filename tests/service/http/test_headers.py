from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from servers import serving

SAFE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


@pytest.mark.parametrize("path", ["/recommend/user-1", "/metrics", "/docs", "/none", "/popular?k=0"])
def test_every_answer_has_the_secure_headers_and_none_that_tells_what_serves(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in SAFE} == SAFE
    assert "server" not in headers


def test_without_the_setting_no_page_of_another_origin_may_read_an_answer(client: httpx.Client) -> None:
    response = client.get("/popular", headers={"Origin": "https://shop.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.fixture(scope="module")
def shared(registry: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry, cors_origins="https://shop.example, https://m.shop.example", docs=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/popular", "/items/none", "/popular?k=0"])
def test_pages_of_the_origins_set_may_read_answers_and_refusals(shared: httpx.Client, path: str) -> None:
    for origin, allowed in [("https://m.shop.example", "https://m.shop.example"), ("https://evil.example", None)]:
        response = shared.get(path, headers={"Origin": origin})
        assert response.headers.get("access-control-allow-origin") == allowed
        assert response.headers["x-request-id"]


def test_a_page_is_told_what_it_may_send_without_showing_a_key(shared: httpx.Client) -> None:
    asks = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    allowed = shared.options("/recommend", headers={**asks, "Access-Control-Request-Headers": "authorization"})
    assert allowed.status_code == 200
    assert {"HEAD", "POST"} <= set(allowed.headers["access-control-allow-methods"].split(", "))


def test_the_documentation_can_be_switched_off(shared: httpx.Client) -> None:
    assert shared.get("/docs").status_code == shared.get("/openapi.json").status_code == 404


def test_who_is_behind_a_proxy_is_believed_of_the_proxies_set_alone(registry: Path) -> None:
    forwarded = {"X-Forwarded-For": "198.51.100.7"}
    limit = {"rate_limit_per_s": 0.001, "rate_limit_burst": 1}
    with serving(registry=registry, **limit) as client:
        client.get("/popular", headers=forwarded)
        assert client.get("/popular", headers=forwarded).json()["detail"].startswith("the rate limit of 127.0.0.1 is")
    with serving(registry=registry, trusted_proxies="127.0.0.0/8", **limit) as client:
        client.get("/popular", headers=forwarded)
        assert (
            client.get("/popular", headers=forwarded).json()["detail"].startswith("the rate limit of 198.51.100.7 is")
        )
        assert client.get("/popular").status_code == 200
