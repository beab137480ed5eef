"""HTTP as uvicorn and httptools speak it, with our shape of error for what never becomes a request."""

import asyncio
import secrets
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import error_body

# httptools keeps offsets in 16 bits: a longer request target cannot be parsed at all.
LONGEST_TARGET = 65_535


class Joined:
    """A transport that sends what is written in one turn of the loop with one system call.

    uvicorn writes an answer's head and body apart and uvloop sends each at once; a call into the kernel costs a fifth
    of a small answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the data when this turn of the loop is over."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        written, self._written = self._written, []
        if written and not self._transport.is_closing():
            self._transport.write(b"".join(written))


class Protocol(HttpToolsProtocol):
    """Sends an answer at once, and refuses what cannot be parsed with the JSON that every other error has."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Stand between uvicorn and the socket."""
        super().connection_made(cast(asyncio.Transport, Joined(transport)))

    def send_400_response(self, msg: str) -> None:
        """Answer and close: 414 names the limit that a long id breaks before any setting is asked."""
        found = len(getattr(self, "url", b""))
        if found > LONGEST_TARGET:
            detail = f"the request target has {found} bytes, the limit is {LONGEST_TARGET}"
            self._refuse(b"414 URI Too Long", "uri_too_long", detail)
        else:
            self._refuse(b"400 Bad Request", "bad_request", msg)

    def _refuse(self, status: bytes, code: str, detail: str) -> None:
        request_id = secrets.token_hex(16)
        body = error_body(code, detail, request_id)
        headers: list[tuple[bytes, Any]] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 " + status, *(name + b": " + value for name, value in headers), b"", body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()
