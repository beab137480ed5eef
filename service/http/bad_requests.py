"""Heads of requests that the parser or a limit refuses, and the bytes that answer them; no application sees these."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from service.errors import error_body

# httptools keeps offsets in 16 bits: a longer request target cannot be parsed at all.
MAX_TARGET_BYTES = 65_535

Headers = Sequence[tuple[bytes, bytes]]


class Refusal(NamedTuple):
    """Status line, code and text of an error."""

    status: bytes
    code: str
    detail: str

    def render(self) -> bytes:
        """The whole response; the connection must be closed after it."""
        request_id = secrets.token_hex(16)
        body = error_body(self.code, self.detail, request_id)
        lines = [
            b"HTTP/1.1 " + self.status,
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"x-request-id: " + request_id.encode(),
            b"connection: close",
            b"",
            body,
        ]
        return b"\r\n".join(lines)


def head_bytes(target: bytes, headers: Headers) -> int:
    """The size of a parsed head."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def head_too_large(target: bytes, n_bytes: int, limit: int) -> Refusal:
    """414 where the target alone is too long, else 431."""
    if len(target) > MAX_TARGET_BYTES:
        detail = f"the request target has {len(target)} bytes or more, the limit is {MAX_TARGET_BYTES}"
        return Refusal(b"414 URI Too Long", "uri_too_long", detail)
    detail = f"the request's head has {n_bytes} bytes or more, the limit is {limit}"
    return Refusal(b"431 Request Header Fields Too Large", "head_too_large", detail)


def bad_head(target: bytes, headers: Headers, limit: int, detail: str) -> Refusal:
    """Why a head cannot be parsed: 414 and 431 where it is too long, else 400 with this detail."""
    n_bytes = head_bytes(target, headers)
    too_large = len(target) > MAX_TARGET_BYTES or n_bytes > limit
    return head_too_large(target, n_bytes, limit) if too_large else bad_request(detail)


def bad_request(detail: str) -> Refusal:
    """400."""
    return Refusal(b"400 Bad Request", "bad_request", detail)


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The head again, without its Upgrade header."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [name + b": " + value for name, value in headers if name != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])
