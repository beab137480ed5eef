"""Responses whose body is one piece: sent over ASGI, or as the bytes that close a connection."""

import secrets
from collections.abc import Sequence

from starlette.types import Send

from service.errors import error_body

JSON = b"application/json"


async def send_body(
    send: Send, status: int, body: bytes, content_type: bytes, more_headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send the status, the headers and the whole body."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *more_headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def raw_refusal(status: bytes, code: str, detail: str) -> bytes:
    """The whole response to a request that cannot be parsed; the connection must be closed after it."""
    request_id = secrets.token_hex(16)
    body = error_body(code, detail, request_id)
    lines = [
        b"HTTP/1.1 " + status,
        b"content-type: " + JSON,
        b"content-length: %d" % len(body),
        b"x-request-id: " + request_id.encode(),
        b"connection: close",
        b"",
        body,
    ]
    return b"\r\n".join(lines)
