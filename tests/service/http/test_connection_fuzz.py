"""Whatever connections send, and however they end, the process serves on and nothing of them stays.

`FUZZ_CONNECTIONS` says how many are drawn.
"""

import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from processes import Running, process
from servers import counted, wait_until

N_CONNECTIONS = int(os.environ.get("FUZZ_CONNECTIONS", "400"))
PROBE_S = 0.02
LIMITS = {
    "read_timeout_s": 0.5,
    "keep_alive_s": 1,
    "head_max_bytes": 4_000,
    "body_max_bytes": 20_000,
    "max_in_flight": 16,
    "max_connections": 48,
    "trusted_proxies": "*",
    "rate_limit_per_s": 1_000_000,
}
Piece: TypeAlias = Callable[[random.Random], bytes]

PATHS = b"/ /healthz /recommend/user-1?k=3 /recommend/user-1/ /similar/item-1 /events /docs *".split()
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"TRACE", b"PRI", b"get", b"\x00"]
HEADERS = [
    b"host: x",
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA",
    b"connection: close",
    b"expect: 100-continue",
    b"content-length: 5",
    b"content-length: 99999999999999999999",
    b"content-length: -1",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"x-forwarded-for: ::ffff:c633:6401, \xff",
    b"x-request-id: \xe2\x82\xac",
    b"origin: http://a\tb",
    b"content-encoding: gzip",
    b": nameless",
    b"x y: z",
    b"x-long: " + b"a" * 5_000,
]


def head(rng: random.Random) -> bytes:
    chosen = rng.sample(HEADERS, rng.randint(0, 4))
    version = rng.choice([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
    return b"\r\n".join([b"%b %b %b" % (rng.choice(METHODS), rng.choice(PATHS), version), *chosen, b"", b""])


def good(rng: random.Random) -> bytes:
    return b"GET " + rng.choice(PATHS[1:5]) + b" HTTP/1.1\r\nhost: x\r\n\r\n"


def whole_body(rng: random.Random) -> bytes:
    body = b'{"user_id":"user-1","items":[]}' if rng.random() < 0.5 else rng.randbytes(rng.randint(0, 30_000))
    return b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def chunks(rng: random.Random) -> bytes:
    start = b"POST /recommend HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    parts = [
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"-1\r\n",
        b"5;a=b\r\nhel",
        b"\r\n",
    ]
    return start + b"".join(rng.choices(parts, k=rng.randint(0, 5)))


PIECES: list[Piece] = [
    head,
    head,
    good,
    lambda rng: good(rng) * rng.randint(2, 30),
    whole_body,
    chunks,
    lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    lambda rng: b"\r\n" * rng.randint(1, 50),
    lambda rng: rng.randbytes(rng.randint(1, 500)),
    lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    lambda rng: b"GET / HTTP/1.1\r\nx: " + b"a" * rng.randint(3_000, 100_000),
    lambda rng: head(rng)[: rng.randint(1, 40)],
]


def play(address: tuple[str, int], seed: int) -> None:
    """One connection: some pieces, each whole or in parts, and one of several ends."""
    rng = random.Random(seed)
    with socket.create_connection(address, timeout=10) as raw:
        try:
            for _ in range(rng.randint(0, 4)):
                send(raw, rng, rng.choice(PIECES)(rng))
            end(raw, rng)
        except OSError:  # the service may close at any time
            pass


def send(raw: socket.socket, rng: random.Random, data: bytes) -> None:
    while data:
        size = rng.choice([1, 10, len(data), len(data)])
        raw.sendall(data[:size])
        data = data[size:]
        if rng.random() < 0.05:
            return
        time.sleep(rng.choice([0, 0, 0, 0.001]))


def end(raw: socket.socket, rng: random.Random) -> None:
    how = rng.choice(["close", "reset", "half", "read", "stay"])
    if how == "reset":
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "half":
        raw.shutdown(socket.SHUT_WR)
    elif how == "stay":
        time.sleep(rng.random() * 0.3)
    if how in ("half", "read"):
        while raw.recv(65_536):
            pass


@pytest.fixture
def running(registry: Path, tmp_path: Path) -> Iterator[tuple[Running, httpx.Client]]:
    with process(registry, tmp_path / "log", data=tmp_path / "data", admin_open=True, **LIMITS) as started:
        yield started


def test_the_process_outlives_every_connection_and_keeps_nothing_of_it(running: tuple[Running, httpx.Client]) -> None:
    program, client = running
    address = (str(client.base_url.host), client.base_url.port or 0)
    files = open_files(program)
    with ThreadPoolExecutor(24) as pool:
        played = [pool.submit(play, address, seed) for seed in range(N_CONNECTIONS)]
        while wait(played, timeout=PROBE_S).not_done:
            assert httpx.get(f"{client.base_url}/healthz").status_code == 200
        for one in played:
            one.result()
    assert program.poll() is None
    wait_until(lambda: held(client) == {"connections": 1, "requests_in_flight": 1})
    wait_until(lambda: open_files(program) <= files)


def held(client: httpx.Client) -> dict[str, Any]:
    return {name: counted(client, f"reco_{name}") for name in ("connections", "requests_in_flight")}


def open_files(program: Running) -> int:
    return len(os.listdir(f"/proc/{program.pid}/fd"))
