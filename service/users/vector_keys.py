"""The key and the byte format of a user vector in Redis."""

import hashlib
from typing import Any

import numpy as np

Vector = np.ndarray[Any, Any]

LONGEST_PLAIN_ID = 128  # bytes; the key of a longer id holds its hash, so that keys stay short


def user_key(namespace: str, bundle_id: str, user_id: str) -> bytes:
    """`namespace:bundle:user:=<id>`, or `:#<blake2b-256>` for a long id; no two ids share a key.

    Neither a namespace nor a bundle id contains a colon, and the mark distinguishes an id from a hash.
    """
    raw = user_id.encode()
    mark, name = b"=", raw
    if len(raw) > LONGEST_PLAIN_ID:
        mark, name = b"#", hashlib.blake2b(raw, digest_size=32).hexdigest().encode()
    return f"{namespace}:{bundle_id}:user:".encode() + mark + name


def decode_vector(data: bytes | str, size: int) -> Vector | None:
    """The vector (size,) in the bytes; None where their length differs or a value is not finite."""
    if isinstance(data, str) or len(data) != size * np.dtype(np.float32).itemsize:
        return None
    vector = np.frombuffer(data, "<f4")
    return vector if np.isfinite(vector).all() else None
