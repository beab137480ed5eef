"""Admits each request by its API key and the caller's rate limit, or refuses it, before any endpoint runs."""

import ipaddress
import math
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import OVERLOADED, RateLimitedError, ShedError, UnauthorizedError
from service.http.docs_page import DOCS_PATHS
from service.http.security.keyring import Keyring
from service.http.security.rate_limit import Rate, TokenBuckets
from service.principal import PRINCIPAL, Principal

# Probes have no key and must not be rate limited; the documentation is read in a browser.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"}) | DOCS_PATHS
NEVER_SHED = frozenset({"/healthz", "/readyz", "/metrics"})
ADDRESS_CACHE_SIZE = 16_384


class Admission:
    """Admits a request as a principal, or refuses it, without waiting for anything."""

    def __init__(
        self,
        *,
        keys: Keyring | None,
        anonymous: Principal,
        rate: Rate | None,
        buckets: TokenBuckets,
        open_paths: frozenset[str] = OPEN_PATHS,
    ) -> None:
        self._keys = keys
        self._anonymous = anonymous
        self._rate = rate
        self._buckets = buckets
        self._open = open_paths

    def admit(self, scope: Scope) -> None:
        """Put the principal into the scope; ShedError, UnauthorizedError or RateLimitedError."""
        path = scope["path"]
        if OVERLOADED in scope and path not in NEVER_SHED:
            raise ShedError("too many requests are in flight; retry shortly", headers={"Retry-After": "1"})
        if path in self._open:
            scope[PRINCIPAL] = self._anonymous
        elif self._keys is None:
            scope[PRINCIPAL] = self._anonymous
            if self._rate is not None:
                self._limit(_address(scope), self._rate)
        else:
            self._admit_by_key(scope, self._keys)

    def _admit_by_key(self, scope: Scope, keys: Keyring) -> None:
        presented = _presented(scope)
        if presented is None:
            raise UnauthorizedError("an API key is required: Authorization: Bearer <key>, or X-API-Key: <key>")
        key = keys.authenticate(presented)
        scope[PRINCIPAL] = key.principal
        rate = key.rate or self._rate
        if rate is not None:
            self._limit(key.principal.name, rate)

    def _limit(self, name: str, rate: Rate) -> None:
        wait_s = self._buckets.take(name, rate)
        if wait_s > 0:
            seconds = str(math.ceil(wait_s))
            raise RateLimitedError(
                f"the rate limit of {name} is {rate.per_s:g} requests/s, {rate.burst} at once; retry in {seconds} s",
                headers={
                    "Retry-After": seconds,
                    "RateLimit-Policy": f'"{name}";q={rate.burst};w={max(1, round(rate.burst / rate.per_s))}',
                    "RateLimit": f'"{name}";r=0;t={seconds}',
                },
            )


def _presented(scope: Scope) -> bytes | None:
    """The key in the request's headers; of two keys the one in Authorization."""
    key = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()  # type: ignore[no-any-return]  # ASGI headers are bytes
        if name == b"x-api-key":
            key = value.strip()
    return key


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(client[0]) if client else "unknown"


@lru_cache(ADDRESS_CACHE_SIZE)
def network_of(address: str) -> str:
    """The IPv4 address itself, or the /64 network of an IPv6 address: one caller usually has all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)


class AdmissionMiddleware:
    """Plain ASGI middleware that passes on only admitted requests."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._admission.admit(scope)
        await self._app(scope, receive, send)
