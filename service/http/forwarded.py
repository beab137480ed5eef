"""Finds the caller behind trusted proxies, which name it in X-Forwarded-For."""

from collections.abc import Iterable
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.addresses import ADDRESS_CACHE_SIZE, MAX_CHARS, UNKNOWN, parse_address, parse_network

ANY = "*"
MOST_HOPS = 32  # read, from the end; parsing the thousands that a head may hold takes long
ALL_NETWORKS = ("0.0.0.0/0", "::/0")


class ForwardedMiddleware:
    """Plain ASGI middleware that puts the caller's address into the scope in place of a trusted proxy's.

    Each proxy appends the address that it was called from, so the caller is the last one that is no trusted proxy, or
    the first where all are.
    """

    def __init__(self, app: ASGIApp, trusted: Iterable[str]) -> None:
        """Trust these addresses and networks, or all by `*`."""
        self._app = app
        self._trusted = [parse_network(text) for text in (ALL_NETWORKS if ANY in trusted else trusted)]
        self._trusts = lru_cache(ADDRESS_CACHE_SIZE)(self._is_trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client and self._trusts(client[0]):
            forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
            caller = self._caller(forwarded.decode("latin-1"))
            if caller is not None:
                scope["client"] = caller, 0
        await self._app(scope, receive, send)

    def _caller(self, forwarded: str) -> str | None:
        texts = forwarded.rsplit(",", MOST_HOPS)[-MOST_HOPS:]
        hops = [hop.strip()[: MAX_CHARS + 1] for hop in texts if hop.strip()]
        hop = next((hop for hop in reversed(hops) if not self._trusts(hop)), hops[0] if hops else None)
        if hop is None:
            return None
        address = parse_address(hop)
        return UNKNOWN if address is None else str(address)

    def _is_trusted(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._trusted)
