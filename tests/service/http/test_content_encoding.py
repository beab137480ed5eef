"""Compressed bodies are read within the limit of a body, or refused in words."""

import gzip
import json
import zlib

import httpx
import pytest

from service.errors import BodyTooLargeError, InvalidRequestError, UnsupportedEncodingError
from service.http.content_encoding import MOST_MEMBERS, decoded, encoding_of

BODY = json.dumps({"user_ids": ["user-1"], "k": 2}).encode()


def gzipped(body: bytes) -> bytes:
    """The same bytes at any time, which name a test."""
    return gzip.compress(body, mtime=0)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


COMPRESSED = [
    ("gzip", gzipped(BODY)),
    ("GZip", gzipped(BODY)),
    ("x-gzip", gzipped(BODY)),
    ("gzip", gzipped(BODY[:5]) + gzipped(BODY[5:])),
    ("deflate", zlib.compress(BODY)),
    ("deflate", raw_deflate(BODY)),
    ("identity", BODY),
    ("", BODY),
]


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED)
def test_a_compressed_body_is_read(client: httpx.Client, encoding: str, body: bytes) -> None:
    response = client.post("/recommend/batch", content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == 200, response.text
    assert response.json()["answers"] == client.post("/recommend/batch", content=BODY).json()["answers"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "identity, br", "\x80"])
def test_another_encoding_is_415_and_says_what_is_read(client: httpx.Client, encoding: str) -> None:
    response = client.post("/recommend/batch", content=BODY, headers={"Content-Encoding": encoding.encode("latin-1")})
    assert (response.status_code, response.json()["error"]) == (415, "unsupported_encoding")
    assert "Content-Encoding: expected gzip, deflate or identity, found" in response.json()["detail"]
    assert response.headers["accept-encoding"] == "gzip, deflate, identity"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [BODY, b"", gzipped(BODY)[:-9], gzipped(BODY) + b"more", b"\x1f\x8b" * 9])
def test_a_damaged_body_is_refused_in_one_sentence(client: httpx.Client, encoding: str, body: bytes) -> None:
    response = client.post("/recommend/batch", content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == 422
    assert response.json()["detail"] == f"body: is no valid {encoding}, which Content-Encoding says it is"


def test_a_bomb_is_refused_before_it_fills_the_memory(client: httpx.Client) -> None:
    bomb = gzipped(b" " * 50_000_000)
    response = client.post("/recommend/batch", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["error"]) == (413, "body_too_large")
    assert response.json()["detail"] == "the decoded body has more than 1048576 bytes, the limit"


def test_the_limit_is_that_of_all_members_together() -> None:
    assert decoded(gzipped(b"1234") + gzipped(b"5678"), "gzip", 8) == b"12345678"
    with pytest.raises(BodyTooLargeError):
        decoded(gzipped(b"1234") + gzipped(b"56789"), "gzip", 8)


def test_members_without_end_are_refused() -> None:
    assert decoded(gzipped(b"") * MOST_MEMBERS, "gzip", 8) == b""
    with pytest.raises(InvalidRequestError):
        decoded(gzipped(b"") * (MOST_MEMBERS + 1), "gzip", 8)


def test_encodings_named_in_several_headers_are_one_list() -> None:
    assert encoding_of([(b"content-encoding", b"gzip")]) == "gzip"
    with pytest.raises(UnsupportedEncodingError):
        encoding_of([(b"content-encoding", b"gzip"), (b"content-encoding", b"gzip")])


def test_what_is_not_compressed_needs_no_header() -> None:
    assert encoding_of([(b"content-type", b"application/json")]) == "identity"
