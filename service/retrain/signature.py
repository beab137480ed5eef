"""Signs and verifies webhook messages in both directions: HMAC-SHA256 over version, method, path, time and body."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from service.errors import UnauthorizedError

VERSION = "v1"  # of what is signed; it is signed too, so that no message passes for one of another version
TIMESTAMP, SIGNATURE = "X-Reco-Timestamp", "X-Reco-Signature"
TOLERANCE_S = 300.0  # between the sender's clock and ours, either way
UNIX_SECONDS = re.compile("[0-9]{1,12}")


class Message(NamedTuple):
    """What a signature covers beside the time; the path includes its query."""

    method: str
    path: str
    body: bytes


def signature_headers(message: Message, secret: str, now: float) -> dict[str, str]:
    """The timestamp and signature headers of a message."""
    timestamp = str(int(now))
    return {TIMESTAMP: timestamp, SIGNATURE: _signature(message, timestamp, secret)}


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names; one that is sent twice has both values, so that neither is taken for the signed one."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def verify_signature(headers: Mapping[str, str], message: Message, secret: str, now: float) -> None:
    """UnauthorizedError where the signature is of another message or the message is old. Header names are lower case.

    The same message passes again: its receiver must act on it at most once.
    """
    timestamp, found = headers.get(TIMESTAMP.lower(), ""), headers.get(SIGNATURE.lower(), "")
    if not UNIX_SECONDS.fullmatch(timestamp):
        raise UnauthorizedError(f"{TIMESTAMP}: expected unix seconds, found {timestamp[:40]!r}")
    # Compared before the age, so that only holders of the secret learn the time of our clock.
    if not hmac.compare_digest(_signature(message, timestamp, secret).encode(), found.encode()):
        raise UnauthorizedError(
            f"{SIGNATURE}: does not match; expected {VERSION}= and the HMAC of version, method, path, time and body"
        )
    age = abs(now - int(timestamp))
    if age > TOLERANCE_S:
        raise UnauthorizedError(f"{TIMESTAMP}: is {age:.0f} s from our clock, the limit is {TOLERANCE_S:.0f} s")


def _signature(message: Message, timestamp: str, secret: str) -> str:
    """No field but the last can hold a line break, so no two messages have one text."""
    text = "\n".join((VERSION, message.method, message.path, timestamp, "")).encode() + message.body
    return f"{VERSION}=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
