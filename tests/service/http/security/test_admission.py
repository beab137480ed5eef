import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from servers import counted, serving, wait_until

from service.http.security.keys import new_key
from service.principal import Role


class Keys:
    """A file of keys, and the keys themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def add(self, name: str, role: Role, more: str = "") -> str:
        key, line = new_key(name, role)
        with self.path.open("a") as file:
            file.write(line[:-1] + more + "}\n")
        return key


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.jsonl")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_with_keys_only_their_holders_are_answered(registry: Path, keys: Keys) -> None:
    key = keys.add("shop", "read")
    with serving(registry=registry, api_keys_file=keys.path) as client:
        for headers in [bearer(key), {"Authorization": f"bearer  {key}"}, {"X-API-Key": key}]:
            assert client.get("/recommend/user-1", headers=headers).status_code == 200
        basic = {"Authorization": "Basic c2hvcDp4", "X-API-Key": key}  # a proxy's own, and ours
        assert client.get("/recommend/user-1", headers=basic).status_code == 200

        refused = client.get("/recommend/user-1")
        assert refused.status_code == 401
        assert refused.json()["error"] == "unauthorized"
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
        assert refused.headers["www-authenticate"] == 'Bearer realm="anchorrec"'

        unknown = client.get("/recommend/user-1", headers=bearer(key[:-1]))
        assert unknown.status_code == 401
        assert unknown.headers["www-authenticate"] == 'Bearer realm="anchorrec", error="invalid_token"'
        assert key[:-1] not in unknown.text

        metrics = client.get("/metrics", headers=bearer(key)).text
        assert 'reco_errors_total{code="unauthorized"} 2.0' in metrics


@pytest.mark.parametrize("presented", ["", "\xff", "a" * 50_000, "reco_", "null"])
def test_whatever_stands_for_a_key_is_refused(registry: Path, keys: Keys, presented: str) -> None:
    keys.add("shop", "read")
    with serving(registry=registry, api_keys_file=keys.path) as client:
        headers = {"X-API-Key": presented.encode("latin-1")}
        assert client.get("/popular", headers=headers).status_code == 401


def test_probes_and_the_documentation_need_no_key_and_metrics_do(registry: Path, keys: Keys) -> None:
    keys.add("shop", "read")
    with serving(registry=registry, api_keys_file=keys.path) as client:
        for path, status in [("/healthz", 200), ("/readyz", 200), ("/docs", 200), ("/metrics", 401), ("/none", 401)]:
            assert client.get(path).status_code == status


PAGE = (Path(__file__).parents[4] / "docs" / "security.md").read_text(encoding="utf-8")
ROLES: tuple[Role, ...] = ("read", "write", "admin")


def routes_of_the_page() -> dict[str, str]:
    """The role of each route, `GET /popular`, by the table of docs/security.md."""
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|") and "/" in line]
    return {route: role.strip(" `") for role, routes in rows for route in re.findall(r"`([A-Z]+ /[^`]*)`", routes)}


def test_every_route_asks_for_the_role_that_the_page_tells(registry: Path, keys: Keys) -> None:
    given = {role: bearer(keys.add(role, role)) for role in ROLES}
    told = routes_of_the_page()
    with serving(registry=registry, api_keys_file=keys.path) as client:
        paths = client.get("/openapi.json").json()["paths"]
        of_routes = {
            f"{method.upper()} {path}": one["x-role"] for path, of in paths.items() for method, one in of.items()
        }
        open_routes = {"GET /healthz", "GET /readyz", "GET /openapi.json", "GET /docs", "GET /", "GET /console"}
        assert told == of_routes | dict.fromkeys(open_routes, "no key")
        for route, role in told.items():
            method, path = route.split()
            path = re.sub(r"\{\w+\}", "none", path)
            statuses = [client.request(method, path).status_code]
            statuses += [client.request(method, path, headers=given[one]).status_code for one in ROLES]
            refused = 0 if role == "no key" else 1 + ROLES.index(role)  # type: ignore[arg-type]
            assert statuses[:refused] == [401, 403, 403][:refused], route
            assert not {401, 403} & set(statuses[refused:]), route


def test_the_openapi_document_says_where_keys_are_asked_for(registry: Path, keys: Keys) -> None:
    keys.add("shop", "read")
    with serving(registry=registry, api_keys_file=keys.path) as client:
        document = client.get("/openapi.json").json()
        assert document["security"] == [{"bearer": []}, {"header": []}]
        assert document["components"]["securitySchemes"]["header"]["name"] == "X-API-Key"
        roles = {path: operation["x-role"] for path, of in document["paths"].items() for operation in of.values()}
        assert (roles["/popular"], roles["/events"], roles["/items/{item_id}/hidden"]) == ("read", "write", "admin")
    with serving(registry=registry) as client:
        assert client.get("/openapi.json").json()["security"] == []


def test_a_key_is_added_and_taken_away_without_a_restart_and_a_slip_locks_nobody_out(
    registry: Path, keys: Keys
) -> None:
    old = keys.add("shop", "read")
    with serving(registry=registry, api_keys_file=keys.path, api_keys_reload_s=0.02) as client:

        def status(key: str) -> int:
            return client.get("/popular?k=1", headers=bearer(key)).status_code

        assert status(old) == 200
        new = keys.add("shop", "read")
        wait_until(lambda: status(new) == 200)
        assert status(old) == 200  # both, while callers change over

        keys.path.write_text("".join(keys.path.read_text().splitlines(keepends=True)[1:]))
        wait_until(lambda: status(old) == 401)
        assert status(new) == 200

        keys.path.write_text('{"name": "half a li')
        wait_until(lambda: _reloads(client, new, "refused") == 1)
        assert status(new) == 200
        keys.path.unlink()
        wait_until(lambda: _reloads(client, new, "refused") == 2)
        assert status(new) == 200
        for n, wrong in enumerate((b"[" * 100_000, b"\xff", line_with(rate_limit_per_s="infinity")), 3):
            keys.path.write_bytes(wrong)
            wait_until(lambda n=n: _reloads(client, new, "refused") == n)
        keys.path.unlink()
        os.mkfifo(keys.path)  # reading it would never end
        wait_until(lambda: _reloads(client, new, "refused") >= 6)
        assert status(new) == 200
        keys.path.unlink()
        third = keys.add("shop", "read")
        wait_until(lambda: status(third) == 200)
        assert client.get("/readyz").json()["degraded"] == []


def line_with(**more: Any) -> bytes:
    return orjson.dumps({"name": "shop", "role": "read", "hash": "sha256:" + "a" * 64, **more})


def _reloads(client: httpx.Client, key: str, outcome: str) -> float:
    client.headers.update(bearer(key))
    return counted(client, f'reco_api_key_reloads_total{{outcome="{outcome}"}}')


def test_a_key_stops_at_its_expiry(registry: Path, keys: Keys) -> None:
    spent = keys.add("old", "read", ',"expires":"2020-01-01T00:00:00Z"')
    good = keys.add("new", "read", f',"expires":{time.time() + 3600}')
    with serving(registry=registry, api_keys_file=keys.path) as client:
        refused = client.get("/popular", headers=bearer(spent))
        assert (refused.status_code, refused.json()["detail"]) == (401, "the API key of 'old' has expired")
        assert client.get("/popular", headers=bearer(good)).status_code == 200


@pytest.fixture
def limited(registry: Path, keys: Keys) -> Iterator[tuple[httpx.Client, str, str]]:
    few, many = keys.add("few", "read"), keys.add("many", "read", ',"rate_limit_per_s":0.01,"rate_limit_burst":5')
    limit: dict[str, Any] = {"rate_limit_per_s": 0.01, "rate_limit_burst": 2}
    with serving(registry=registry, api_keys_file=keys.path, **limit) as client:
        yield client, few, many


def test_each_key_has_a_rate_and_is_told_when_to_come_back(limited: tuple[httpx.Client, str, str]) -> None:
    client, few, many = limited
    assert [client.get("/popular", headers=bearer(few)).status_code for _ in range(3)] == [200, 200, 429]
    assert [client.get("/popular", headers=bearer(many)).status_code for _ in range(6)] == [200] * 5 + [429]
    refused = client.get("/popular", headers=bearer(few))
    assert refused.json()["error"] == "rate_limited"
    assert refused.json()["detail"].startswith("the rate limit of few is 0.01 requests/s, 2 at once; retry in ")
    assert 90 < int(refused.headers["retry-after"]) <= 100
    assert refused.headers["ratelimit-policy"] == '"few";q=2;w=200'
    assert refused.headers["ratelimit"] == f'"few";r=0;t={refused.headers["retry-after"]}'
    assert client.get("/readyz").status_code == 200


def test_without_keys_the_rate_is_each_addresss(registry: Path) -> None:
    with serving(registry=registry, rate_limit_per_s=0.01, rate_limit_burst=2) as client:
        assert [client.get("/popular").status_code for _ in range(3)] == [200, 200, 429]
        assert client.get("/popular").json()["detail"].startswith("the rate limit of 127.0.0.1 is")
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=client.base_url, transport=elsewhere) as other:
            assert other.get("/popular").status_code == 200
