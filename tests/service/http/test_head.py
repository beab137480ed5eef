"""HEAD is answered as GET is, without the body."""

import socket
from pathlib import Path

import httpx
import pytest
from servers import counted, serving, wait_until

VARYING = {"x-request-id", "server-timing"}
PATHS = [
    "/healthz",
    "/readyz",
    "/recommend/user-1?k=3",
    "/recommend/user-1?k=3&explain=true",
    "/recommend/nobody",
    "/items/item-1",
    "/items/none",
    "/items/",
    "/similar/item-1?k=2",
    "/popular",
    "/hidden",
    "/items/item-1/users",
    "/bundles",
    "/retrain",
    "/retrain/none",
    "/docs",
    "/openapi.json",
    "/popular?k=0",
    "/none",
    "/recommend/user-1/typo",
]


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_status_and_the_headers_of_get_and_no_body(client: httpx.Client, path: str) -> None:
    for _ in range(2):  # the second from the cache
        got, asked = client.get(path), client.head(path)
        assert asked.status_code == got.status_code
        assert asked.content == b""
        assert headers_of(asked) == headers_of(got)
        assert int(asked.headers["content-length"]) == len(got.content)


def headers_of(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in VARYING}


# Scores of /trending decay from one second to the next.
@pytest.mark.parametrize("path", ["/metrics", "/users/user-1", "/quality", "/trending"])
def test_head_of_what_changes_all_the_time_has_a_length_too(client: httpx.Client, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 100


def test_nothing_follows_the_headers_of_a_head_on_the_wire(client: httpx.Client) -> None:
    requests = b"HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 2
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as raw:
        raw.sendall(requests + b"HEAD /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        data = raw.makefile("rb").read()
    assert [part.split()[0] for part in data.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"404"]
    assert data.count(b"{") == 0


def test_a_list_of_which_only_the_head_was_asked_for_is_no_impression(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path, log_impressions=True) as client:
        client.head("/recommend/user-1")
        client.get("/recommend/user-1")
        wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') > 0)
        assert counted(client, 'reco_events_total{kind="impression"}') == 1
        assert counted(client, 'reco_requests_total{method="HEAD",route="/recommend/{user_id}",status="200"}') == 1
