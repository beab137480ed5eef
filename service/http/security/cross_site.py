"""Refuses requests that a page of another site makes a visitor's browser send, where no key shows who sends them.

A browser lets any page POST to any address that it can reach, such as a service on this machine: the page does not get
the answer, but the change is made. `Sec-Fetch-Site` and `Origin`, which no script can set, tell. Other clients send
neither.
"""

import re
from collections.abc import Collection
from ipaddress import ip_address

from service.errors import CrossSiteError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN = (b"same-origin", b"none")  # none: the user themself, from the address bar
SHOWN_CHARS = 80
_PORT = re.compile(r":\d*$")

Headers = Collection[tuple[bytes, bytes]]


class CrossSite:
    """Which pages may send requests that are no plain reads."""

    def __init__(self, allowed: Collection[str] = (), *, own_names: bool = True) -> None:
        """Allow pages of this service and of the `allowed` origins.

        own_names: whether this service may have any host name; False refuses pages whose host name is not `localhost`
            or an address, as an attacker may let a name lead to this machine (DNS rebinding).
        """
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._own_names = own_names

    def check(self, headers: Headers) -> None:
        """CrossSiteError where a page of another site sent the request."""
        site = origin = host = None
        for name, value in headers:
            if name == b"sec-fetch-site":
                site = value
            elif name == b"origin":
                origin = value
            elif name == b"host":
                host = value
        if origin in self._allowed or b"*" in self._allowed or (site is None and origin is None):
            return
        if site not in OWN and (site is not None or not self._is_own(origin or b"", host or b"")):
            found = f"Sec-Fetch-Site: {_shown(site)}" if site is not None else f"Host: {_shown(host or b'')}"
            raise CrossSiteError(
                f"a page of {_shown(origin or b'another site')} sent this (found {found}); expected a page of this "
                "service, or of an origin in RECO_CORS_ORIGINS"
            )

    def _is_own(self, origin: bytes, host: bytes) -> bool:
        """By Origin and Host alone, which is what a browser sends to an address without TLS that is not loopback."""
        named = _host_of(origin.partition(b"://")[2])
        return named != "" and named == _host_of(host) and (self._own_names or _cannot_be_rebound(named))


def _host_of(text: bytes) -> str:
    """Host and port, without those that a browser leaves out."""
    return text.decode("latin-1").lower().removesuffix(":80").removesuffix(":443")


def _cannot_be_rebound(host: str) -> bool:
    """Whether the host is an address or `localhost`, of which no one decides where it leads."""
    name = _PORT.sub("", host).strip("[]")
    try:
        ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _shown(value: bytes) -> str:
    return value[:SHOWN_CHARS].decode("latin-1")
