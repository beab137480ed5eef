"""How responses leave: in one piece over ASGI, and in one system call to the socket."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import Send
from uvicorn.protocols.http.flow_control import FlowControl

JSON = b"application/json"


async def send_body(
    send: Send, status: int, body: bytes, content_type: bytes, more_headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send the status, the headers and the whole body."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *more_headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class JoinedWrites:
    """A transport that joins the writes of one iteration of the event loop into one system call.

    uvicorn writes the head and the body of a response separately, and uvloop makes a system call for each; one costs an
    eighth of the CPU time of a small response.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pending: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the data at the end of this iteration of the loop."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Send pending data, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and not self._transport.is_closing():
            self._transport.write(b"".join(pending))


class Flow(FlowControl):
    """uvicorn's, which also tells when a response waits for its client to read, and may hold all reading."""

    def __init__(self, transport: asyncio.Transport, on_wait: Callable[[], None]) -> None:
        super().__init__(transport)
        self._on_wait = on_wait
        self._held = False

    def hold_reading(self) -> None:
        """Read nothing until `release_reading`, whatever uvicorn wants."""
        self._held = True
        self._transport.pause_reading()

    def release_reading(self) -> None:
        """Read again, unless uvicorn has paused it."""
        self._held = False
        if not self.read_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def resume_reading(self) -> None:
        if self._held:
            self.read_paused = False
        else:
            super().resume_reading()

    async def drain(self) -> None:
        self._on_wait()
        await super().drain()
