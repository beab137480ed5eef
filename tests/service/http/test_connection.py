import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpx
import uvicorn
from uvicorn.server import ServerState

from service.http.connection import HttpConnection
from service.http.load import ConnectionLimits, Load
from service.http.sending import JoinedWrites

LIMITS = ConnectionLimits(
    max_connections=1,
    max_in_flight=1,
    max_body_bytes=1_000,
    head_max_bytes=1_000,
    body_max_bytes=1_000,
    read_timeout_s=1,
    request_timeout_s=1,
    idle_s=1,
)


class Recorder(asyncio.Transport):
    """Keeps what reaches the socket, one entry a system call."""

    def __init__(self) -> None:
        super().__init__({"peername": ("198.51.100.7", 80)})
        self.calls: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.calls.append(bytes(data))

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


def written(*turns: Callable[[Any], None]) -> list[bytes]:
    """What reaches the socket when each of these is done in a turn of the loop of its own."""

    async def run() -> list[bytes]:
        recorder = Recorder()
        joined = JoinedWrites(recorder)
        for turn in turns:
            turn(joined)
            await asyncio.sleep(0)
        return recorder.calls

    return asyncio.run(run())


def head_and_body(transport: Any) -> None:
    transport.write(b"head ")
    transport.write(b"body")


def test_what_is_written_in_one_turn_of_the_loop_leaves_in_one_call():
    assert written(head_and_body, head_and_body) == [b"head body", b"head body"]


def test_closing_sends_what_was_written_and_nothing_after_it():
    def write_and_close(transport: Any) -> None:
        head_and_body(transport)
        transport.close()
        transport.write(b"too late")

    assert written(write_and_close, lambda _: None) == [b"head body"]


def test_everything_else_is_the_transports_own():
    def look(transport: Any) -> None:
        assert transport.get_extra_info("peername") == ("198.51.100.7", 80)
        assert transport.is_closing() is False

    assert written(look) == []


def test_requests_sent_together_are_answered_in_order(client: httpx.Client):
    requests = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nHEAD /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /popular?k=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as raw:
        raw.sendall(requests + last)
        answer = raw.makefile("rb").read()
    heads = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert heads == [b"200", b"404", b"200"]
    assert answer.endswith(b"}")


async def empty_answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_response_is_sent_whose_client_ends_its_side_in_the_turn_in_which_it_was_made() -> None:
    async def run() -> Recorder:
        recorder, config = Recorder(), uvicorn.Config(empty_answer)
        config.load()
        connection = HttpConnection(config, ServerState(), {}, load=Load(LIMITS))
        connection.connection_made(recorder)
        connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.sleep(0)
        assert not connection.eof_received()
        return recorder

    recorder = asyncio.run(run())
    assert b"".join(recorder.calls).startswith(b"HTTP/1.1 204 ")
    assert recorder.closing
