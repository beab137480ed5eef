"""Upgrades to other protocols are not followed: the request is answered as any other, whatever libraries there are."""

import importlib
import json
import socket
import time
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from processes import process
from servers import wait_until

from service.http.server import TIMEOUT_CHECK_S, make_server
from service.settings import Settings

UPGRADE = (
    b"connection: upgrade\r\nupgrade: %b\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
)
PROTOCOLS = [b"websocket", b"h2c", b"TLS/1.0", b"x"]


@pytest.mark.parametrize("library", ["websockets", "wsproto"])
def test_no_websocket_is_served_though_the_libraries_for_it_are_installed(tmp_path: Path, library: str) -> None:
    importlib.import_module(library)
    config = make_server(FastAPI(), Settings(registry=tmp_path)).config
    config.load()
    assert config.ws_protocol_class is None


def test_connections_that_ask_for_an_upgrade_and_leave_do_not_end_the_process(registry: Path, tmp_path: Path) -> None:
    with process(registry, tmp_path / "log", data=tmp_path / "data") as (running, client):
        until = time.monotonic() + 2 * TIMEOUT_CHECK_S
        while time.monotonic() < until:
            with connection(client) as raw:
                raw.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n" + UPGRADE % b"websocket" + b"\r\n")
        assert running.poll() is None
        assert client.get("/healthz").status_code == 200


def connection(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_with_an_upgrade_is_answered_and_the_connection_stays_usable(
    client: httpx.Client, protocol: bytes
) -> None:
    first = b"GET /popular?k=1 HTTP/1.1\r\nhost: x\r\n" + UPGRADE % protocol + b"\r\n"
    with connection(client) as raw:
        raw.sendall(first + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers = raw.makefile("rb").read()
    assert answers.count(b"HTTP/1.1 200") == answers.count(b"HTTP/1.1") == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("pieces", [1, 3])
def test_the_body_of_a_request_with_an_upgrade_is_its_body_and_no_other_request(
    client: httpx.Client, protocol: bytes, pieces: int
) -> None:
    body = json.dumps({"user_id": "DELETE /items/item-1 HTTP/1.1\r\n\r\n", "k": 2}).encode()
    upgrade = b"connection: close, upgrade\r\nupgrade: %b\r\n" % protocol
    request = b"POST /recommend HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (upgrade, len(body), body)
    with connection(client) as raw:
        for start in range(0, len(request), size := len(request) // pieces + 1):
            raw.sendall(request[start : start + size])
            time.sleep(0.01)
        answers = raw.makefile("rb").read()
    assert answers.count(b"HTTP/1.1 ") == 1
    assert json.loads(answers.rpartition(b"\r\n\r\n")[2])["source"] == "popular"


def test_however_many_upgrades_come_in_one_piece_each_is_answered(client: httpx.Client) -> None:
    one = b"GET /healthz HTTP/1.1\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
    with connection(client) as raw:
        raw.sendall(one * 2_000 + b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert raw.makefile("rb").read().count(b"HTTP/1.1 200") == 2_001


def test_a_body_in_chunks_behind_an_upgrade_is_read_too(client: httpx.Client) -> None:
    head = b"POST /recommend HTTP/1.1\r\nconnection: close, upgrade\r\nupgrade: h2c\r\n"
    with connection(client) as raw:
        raw.sendall(head + b'transfer-encoding: chunked\r\n\r\n7\r\n{"k": 3\r\n1\r\n}\r\n0\r\n\r\n')
        answer = raw.makefile("rb").read()
    assert len(json.loads(answer.rpartition(b"\r\n\r\n")[2])["items"]) == 3


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    ],
)
def test_a_tunnel_and_http_2_are_refused_once_and_the_connection_is_closed(
    client: httpx.Client, request_bytes: bytes
) -> None:
    with connection(client) as raw:
        raw.sendall(request_bytes)
        answer = raw.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    wait_until(lambda: client.get("/healthz").status_code == 200)
