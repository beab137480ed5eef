"""What passes between us and an outside system is signed: HMAC-SHA256 over the time, a dot, and the body."""

import hashlib
import hmac
from collections.abc import Mapping

from service.errors import UnauthorizedError

TIMESTAMP, SIGNATURE = "X-Reco-Timestamp", "X-Reco-Signature"
TOLERANCE_S = 300.0  # between the sender's clock and ours; older messages may be replays


def signed(body: bytes, secret: str, now: float) -> dict[str, str]:
    """The two headers."""
    timestamp = str(int(now))
    return {TIMESTAMP: timestamp, SIGNATURE: _signature(timestamp.encode(), body, secret)}


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """UnauthorizedError where the body does not bear our secret, or is old. Names in `headers` are lower case."""
    timestamp, found = headers.get(TIMESTAMP.lower(), ""), headers.get(SIGNATURE.lower(), "")
    try:
        age = abs(now - int(timestamp))
    except ValueError:
        raise UnauthorizedError(f"{TIMESTAMP}: expected unix seconds, found {timestamp[:40]!r}") from None
    expected = _signature(timestamp.encode(), body, secret)
    # Compared first, so that only holders of the secret learn what our clock says.
    if not hmac.compare_digest(expected.encode(), found.encode()):
        raise UnauthorizedError(f"{SIGNATURE}: does not fit the body, the time and the secret that we share")
    if age > TOLERANCE_S:
        raise UnauthorizedError(f"{TIMESTAMP}: is {age:.0f} s from our clock, the limit is {TOLERANCE_S:.0f} s")


def _signature(timestamp: bytes, body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), timestamp + b"." + body, hashlib.sha256).hexdigest()
