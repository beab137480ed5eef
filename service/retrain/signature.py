"""Signs and verifies webhook messages in both directions: HMAC-SHA256 over the timestamp, a dot, and the body."""

import hashlib
import hmac
from collections.abc import Mapping

from service.errors import UnauthorizedError

TIMESTAMP, SIGNATURE = "X-Reco-Timestamp", "X-Reco-Signature"
TOLERANCE_S = 300.0  # between the sender's clock and ours; older messages may be replays


def signature_headers(body: bytes, secret: str, now: float) -> dict[str, str]:
    """The timestamp and signature headers of a message."""
    timestamp = str(int(now))
    return {TIMESTAMP: timestamp, SIGNATURE: _signature(timestamp.encode(), body, secret)}


def verify_signature(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """UnauthorizedError where the signature is wrong or the message is old. Header names must be lower case."""
    timestamp, found = headers.get(TIMESTAMP.lower(), ""), headers.get(SIGNATURE.lower(), "")
    try:
        age = abs(now - int(timestamp))
    except (ValueError, OverflowError):
        raise UnauthorizedError(f"{TIMESTAMP}: expected unix seconds, found {timestamp[:40]!r}") from None
    expected = _signature(timestamp.encode(), body, secret)
    # Compared before the age, so that only holders of the secret learn the time of our clock.
    if not hmac.compare_digest(expected.encode(), found.encode()):
        raise UnauthorizedError(f"{SIGNATURE}: does not match the body, the timestamp and the shared secret")
    if age > TOLERANCE_S:
        raise UnauthorizedError(f"{TIMESTAMP}: is {age:.0f} s from our clock, the limit is {TOLERANCE_S:.0f} s")


def _signature(timestamp: bytes, body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), timestamp + b"." + body, hashlib.sha256).hexdigest()
