"""The hosts that pictures may be fetched from, as RECO_IMAGE_HOSTS lists them."""

import re
from typing import NamedTuple

import httpx

PORTS = {"https": 443, "http": 80}
_PORT = re.compile(r":\d+$")
EXPECTED = "expected hosts such as cdn.example.com, http://cdn.example.com or http://10.0.0.5:8080, without a path"


class ImageHost(NamedTuple):
    """A scheme, host and port. A private address is allowed only where the operator wrote the port."""

    scheme: str
    host: str
    port: int
    may_be_private: bool = False

    def serves(self, url: httpx.URL) -> bool:
        """Whether the URL is of this host."""
        return origin_of(url) == (self.scheme, self.host, self.port)


def origin_of(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port of a URL; port 0 where its scheme is neither https nor http."""
    return url.scheme, url.raw_host.decode("ascii").lower(), url.port or PORTS.get(url.scheme, 0)


def parse_host(entry: str) -> ImageHost:
    """One entry of the list, https unless it says http; ValueError where it is no host."""
    try:
        url = httpx.URL(entry if "://" in entry else f"https://{entry}")
    except httpx.InvalidURL as error:
        raise ValueError(f"{entry[:80]!r}: {error}; {EXPECTED}") from None
    scheme, host, port = origin_of(url)
    if not host or not port or "*" in host or url.userinfo or url.path != "/" or url.query or url.fragment:
        raise ValueError(f"{entry[:80]!r}: {EXPECTED}")
    return ImageHost(scheme, host, port, _PORT.search(entry.rstrip("/")) is not None)
