import asyncio
import socket
import time
from typing import Any

import httpx

from service.http.receiving import PIECE_BYTES, SLICE_S, ParsingTurns, Unparsed
from service.http.sending import Flow

N_PIECES = 5


class Transport(asyncio.Transport):
    """Knows whether it reads."""

    reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return False


def test_the_loop_goes_on_between_the_pieces_of_connections_that_received_much():
    done: list[str] = []
    ended: list[str] = []
    transports = {"a": Transport(), "b": Transport()}

    def connection(name: str, turns: ParsingTurns) -> Unparsed:
        def parse(_: Any) -> None:
            done.append(name)
            time.sleep(SLICE_S)

        flow = Flow(transports[name], lambda: None)
        return Unparsed(turns, flow, parse, lambda: True, lambda: ended.append(name))

    async def run() -> None:
        turns = ParsingTurns()
        for name, transport in transports.items():
            unparsed = connection(name, turns)
            unparsed.add(b"x" * PIECE_BYTES * N_PIECES)
            unparsed.ended = True
            assert not transport.reads
        while turns:
            done.append("|")
            await asyncio.sleep(0)

    asyncio.run(run())
    assert (done.count("a"), done.count("b"), ended) == (N_PIECES, N_PIECES, ["a", "b"])
    assert max(len(iteration) for iteration in "".join(done).split("|")) == 1
    assert all(transport.reads for transport in transports.values())


def test_thousands_of_requests_in_one_chunk_are_all_answered_also_where_the_caller_sends_no_more(client: httpx.Client):
    n = 3_000
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=60) as raw:
        raw.sendall(b"HEAD /nothing HTTP/1.1\r\n\r\n" * n + b"GET /healthz HTTP/1.1\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        answer = raw.makefile("rb").read()
    assert answer.count(b"HTTP/1.1 404 ") == n
    assert answer.endswith(b'"status":"alive"}')


def test_few_of_many_requests_that_are_sent_ahead_are_parsed():
    parsed: list[bytes] = []
    transport = Transport()

    async def run() -> None:
        unparsed = Unparsed(
            ParsingTurns(), Flow(transport, lambda: None), lambda piece: parsed.append(bytes(piece)),
            lambda: not parsed, lambda: None,
        )  # fmt: skip
        unparsed.add(b"x" * PIECE_BYTES * N_PIECES)
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert (len(parsed), transport.reads) == (1, False)


def test_a_body_of_the_smallest_chunks_is_read(client: httpx.Client):
    body = b'{"user_id": "nobody", "k": 1' + b" " * 20_000 + b"}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = b"POST /recommend HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=60) as raw:
        raw.sendall(head + chunks)
        assert raw.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
