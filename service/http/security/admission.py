"""What every request passes before an endpoint: who is it, and may it ask just now?"""

import ipaddress
import math
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import OVERLOADED, RateLimitedError, ShedError, UnauthorizedError
from service.http.security.keyring import Keyring
from service.http.security.rate_limit import Rate, TokenBuckets
from service.principal import PRINCIPAL, Principal

# Probes ask often and hold no key; the documentation is read in a browser.
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
NEVER_SHED = frozenset({"/healthz", "/readyz", "/metrics"})
ADDRESSES = 16_384  # whose names are kept made


class Admission:
    """Lets a request in as a principal, or refuses it. Nothing here waits."""

    def __init__(
        self,
        *,
        keys: Keyring | None,
        anybody: Principal,
        rate: Rate | None,
        buckets: TokenBuckets,
        open_paths: frozenset[str] = OPEN,
    ) -> None:
        self._keys = keys
        self._anybody = anybody
        self._rate = rate
        self._buckets = buckets
        self._open = open_paths

    def admit(self, scope: Scope) -> None:
        """Put the principal into the scope; ShedError, UnauthorizedError or RateLimitedError."""
        path = scope["path"]
        if OVERLOADED in scope and path not in NEVER_SHED:
            raise ShedError("too many requests are waiting; try again in a moment", headers={"Retry-After": "1"})
        if path in self._open:
            scope[PRINCIPAL] = self._anybody
        elif self._keys is None:
            scope[PRINCIPAL] = self._anybody
            if self._rate is not None:
                self._limit(_address(scope), self._rate)
        else:
            self._admit_by_key(scope, self._keys)

    def _admit_by_key(self, scope: Scope, keys: Keyring) -> None:
        presented = _presented(scope)
        if presented is None:
            raise UnauthorizedError("this needs an API key: Authorization: Bearer <key>, or X-API-Key: <key>")
        key = keys.find(presented)
        scope[PRINCIPAL] = key.principal
        rate = key.rate or self._rate
        if rate is not None:
            self._limit(key.principal.name, rate)

    def _limit(self, name: str, rate: Rate) -> None:
        wait_s = self._buckets.take(name, rate)
        if wait_s > 0:
            seconds = str(math.ceil(wait_s))
            raise RateLimitedError(
                f"{name} may ask {rate.per_s:g} times a second, {rate.burst} times at once; try again in {seconds} s",
                headers={
                    "Retry-After": seconds,
                    "RateLimit-Policy": f'"{name}";q={rate.burst};w={max(1, round(rate.burst / rate.per_s))}',
                    "RateLimit": f'"{name}";r=0;t={seconds}',
                },
            )


def _presented(scope: Scope) -> bytes | None:
    """The key that the request shows; where it shows two, the one in Authorization."""
    found = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()  # type: ignore[no-any-return]  # ASGI headers are bytes
        if name == b"x-api-key":
            found = value.strip()
    return found


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(client[0]) if client else "unknown"


@lru_cache(ADDRESSES)
def network_of(address: str) -> str:
    """Whom an address stands for: itself, or its /64 in IPv6, of which any one caller holds all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)


class AdmissionMiddleware:
    """Plain ASGI middleware: what follows meets only requests that the door let in."""

    def __init__(self, app: ASGIApp, door: Admission) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or refuse it."""
        if scope["type"] == "http":
            self._door.admit(scope)
        await self._app(scope, receive, send)
