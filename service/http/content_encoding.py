"""Decodes bodies by their Content-Encoding, never to more than the limit of a body; tells their media type."""

import zlib
from collections.abc import Iterable

from service.errors import BodyTooLargeError, InvalidRequestError, UnsupportedEncodingError

GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS  # what zlib calls these formats
MOST_MEMBERS = 16  # of a gzip body: the rest is copied at the end of each
READ = ("gzip", "deflate", "identity")
NDJSON = "application/x-ndjson"  # a list, one entry a line


def encoding_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The body's encoding, `identity` where none is named; UnsupportedEncodingError names one that is not read."""
    named = b",".join(value for name, value in headers if name == b"content-encoding").decode("latin-1")
    encoding = named.strip().lower().removeprefix("x-") or "identity"
    if encoding not in READ:
        raise UnsupportedEncodingError(
            f"Content-Encoding: expected {', '.join(READ[:-1])} or {READ[-1]}, found {named[:80]!r}",
            headers={"Accept-Encoding": ", ".join(READ)},
        )
    return encoding


def content_type_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The body's media type without parameters, in lower case; empty where none is named."""
    named = next((value for name, value in headers if name == b"content-type"), b"")
    return named.decode("latin-1").partition(";")[0].strip().lower()


def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """The decoded body; BodyTooLargeError as soon as it is longer than the limit, InvalidRequestError if damaged."""
    if encoding == "identity":
        return body
    try:
        return _inflated(body, GZIP if encoding == "gzip" else ZLIB if _is_zlib(body) else RAW, limit)
    except zlib.error:
        raise InvalidRequestError(f"body: is no valid {encoding}, which Content-Encoding says it is") from None


def _is_zlib(body: bytes) -> bool:
    """Whether it begins as zlib's format does (RFC 1950), which `deflate` means; some senders leave the wrapper out."""
    return len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0


def _inflated(body: bytes, wbits: int, limit: int) -> bytes:
    found = bytearray()
    for _ in range(MOST_MEMBERS if wbits == GZIP else 1):
        part = zlib.decompressobj(wbits)
        found += part.decompress(body, limit + 1 - len(found))
        if len(found) > limit:
            raise BodyTooLargeError(f"the decoded body has more than {limit} bytes, the limit")
        if not part.eof:
            raise zlib.error("truncated")
        body = part.unused_data
        if not body:
            return bytes(found)
    raise zlib.error("bytes after the end")
