"""HTTP as uvicorn and httptools speak it, with our shape of error for what never becomes a request."""

import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import error_body

# httptools keeps offsets in 16 bits: a longer request target cannot be parsed at all.
LONGEST_TARGET = 65_535


class Protocol(HttpToolsProtocol):
    """Refuses a request that cannot be parsed with the JSON that every other error has."""

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
