"""Admits each request by its API key and the caller's rate limit, or refuses it, before any endpoint runs."""

import math
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import OVERLOADED, SPEND, RateLimitedError, UnauthorizedError, overload
from service.http.addresses import UNKNOWN, caller_of
from service.http.docs_page import DOCS_PATHS
from service.http.security.cross_site import SAFE_METHODS, CrossSite
from service.http.security.keyring import Keyring
from service.http.security.mapped_rate_limit import MappedTokenBuckets
from service.http.security.rate_limit import Rate, TokenBuckets
from service.principal import CALLER, PRINCIPAL, Principal

# Probes have no key and must not be rate limited; the documentation is read in a browser.
OPEN_PATHS = frozenset({"/healthz", "/readyz"}) | DOCS_PATHS
NEVER_SHED = frozenset({"/healthz", "/readyz", "/metrics"})


class Admission:
    """Admits a request as a principal, or refuses it, without waiting for anything."""

    def __init__(
        self,
        *,
        keys: Keyring | None,
        anonymous: Principal,
        rate: Rate | None,
        buckets: TokenBuckets | MappedTokenBuckets,
        open_paths: frozenset[str] = OPEN_PATHS,
        cross_site: CrossSite | None = None,
    ) -> None:
        self._keys = keys
        self._anonymous = anonymous
        self._rate = rate
        self._buckets = buckets
        self._open = open_paths
        self._cross_site = CrossSite() if cross_site is None else cross_site

    def admit(self, scope: Scope) -> None:
        """Put the principal into the scope; ShedError, CrossSiteError, UnauthorizedError or RateLimitedError."""
        path = scope["path"]
        if OVERLOADED in scope and path not in NEVER_SHED:
            raise overload(scope)
        if path in self._open:
            scope[PRINCIPAL] = self._anonymous
        elif self._keys is None:
            if scope["method"] not in SAFE_METHODS:  # with keys the sender shows one, which no other site has
                self._cross_site.check(scope["headers"])
            scope[PRINCIPAL], scope[CALLER] = self._anonymous, _address(scope)
            if self._rate is not None:
                self._limit(scope, scope[CALLER], self._rate)
        else:
            self._admit_by_key(scope, self._keys)

    def _admit_by_key(self, scope: Scope, keys: Keyring) -> None:
        presented = _presented(scope)
        if presented is None:
            raise UnauthorizedError("an API key is required: Authorization: Bearer <key>, or X-API-Key: <key>")
        key = keys.authenticate(presented)
        scope[PRINCIPAL], scope[CALLER] = key.principal, key.principal.name
        rate = key.rate or self._rate
        if rate is not None:
            self._limit(scope, key.principal.name, rate)

    def _limit(self, scope: Scope, name: str, rate: Rate) -> None:
        """Take one token; what the request costs beyond is taken when that is known."""
        _refuse_until(self._buckets.take(name, rate), name, rate)
        scope[SPEND] = partial(self._spend, name, rate)

    def _spend(self, name: str, rate: Rate, n: int) -> None:
        _refuse_until(self._buckets.take_more(name, rate, n), name, rate, cost=1 + n)


def _refuse_until(wait_s: float, name: str, rate: Rate, cost: int = 1) -> None:
    if wait_s > 0:
        seconds = str(math.ceil(wait_s))
        counts_as = f"; this one counts as {cost}" if cost > 1 else ""
        raise RateLimitedError(
            f"the rate limit of {name} is {rate.per_s:g} requests/s, {rate.burst} at once{counts_as}; "
            f"retry in {seconds} s",
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
    return caller_of(client[0]) if client else UNKNOWN


class AdmissionMiddleware:
    """Plain ASGI middleware that passes on only admitted requests."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._admission.admit(scope)
        await self._app(scope, receive, send)
