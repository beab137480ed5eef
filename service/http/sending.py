"""Sends a response whose body is one piece over ASGI."""

from collections.abc import Sequence

from starlette.types import Send

JSON = b"application/json"


async def send_body(
    send: Send, status: int, body: bytes, content_type: bytes, more_headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send the status, the headers and the whole body."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *more_headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
