import asyncio
import socket
from pathlib import Path

from fastapi import FastAPI

from service.http.server import make_server
from service.settings import Settings


def test_once_it_listens_and_not_before_what_waits_for_that_is_done(tmp_path: Path):
    done: list[int] = []

    def connect() -> None:
        with socket.create_connection(server.servers[0].sockets[0].getsockname()) as raw:
            done.append(raw.getpeername()[1])
        server.should_exit = True

    server = make_server(FastAPI(), Settings(registry=tmp_path, port=0, drain_delay_s=0), on_listening=connect)
    asyncio.run(server.serve())
    assert len(done) == 1
