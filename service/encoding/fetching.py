"""Fetches pictures from the hosts that the operator lists, within limits of size and time."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

from index import __version__
from service.encoding.addresses import checked_address
from service.encoding.picture_error import PictureError
from service.image_hosts import ImageHost, origin_of

MOST_REDIRECTS = 3
MOST_ATTEMPTS = 3
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.2, 2.0
PARALLEL = 8
REST_S = 10.0  # after a host did not respond, during which it is not asked: a dead host must not delay every item
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"anchorrec/{__version__}"}
TRANSIENT = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True)
class _Target:
    """A URL of an allowed host."""

    url: httpx.URL
    host: ImageHost


class PictureFetcher:
    """Sends GET requests, a few at a time, each on a connection of its own to an address that was checked."""

    def __init__(self, hosts: Sequence[ImageHost], *, max_bytes: int, timeout_s: float) -> None:
        self._hosts, self._max_bytes, self._timeout_s = hosts, max_bytes, timeout_s
        self._places = asyncio.Semaphore(PARALLEL)
        self._resting: dict[ImageHost, tuple[float, str]] = {}  # until when, and why

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # Connections are not reused: one of the same address may have been opened under another host's certificate.
        limits = httpx.Limits(max_keepalive_connections=0)
        tls = ssl.create_default_context()
        return httpx.AsyncClient(verify=tls, trust_env=False, timeout=self._timeout_s, limits=limits)

    async def close(self) -> None:
        if "_client" in vars(self):
            await self._client.aclose()

    async def fetch(self, url: str) -> bytes:
        """The bytes at the URL; PictureError says why there are none. What may pass is tried again, with backoff."""
        target = self._allowed(url)
        attempts = AsyncRetrying(
            stop=stop_after_attempt(MOST_ATTEMPTS) | stop_after_delay(self._timeout_s),
            wait=wait_random_exponential(FIRST_BACKOFF_S, MAX_BACKOFF_S),
            retry=retry_if_exception(lambda error: isinstance(error, PictureError) and error.may_pass),
            reraise=True,
        )
        self._refuse_resting(target.host)
        try:
            return await attempts(self._fetch_once, target)
        except PictureError as error:
            if error.may_pass:
                self._resting[target.host] = time.monotonic() + REST_S, str(error)
            raise

    async def _fetch_once(self, target: _Target) -> bytes:
        try:
            async with self._places, asyncio.timeout(self._timeout_s):
                return await self._follow(target)
        except TimeoutError:
            reason = f"{target.host.host} took longer than {self._timeout_s:g} s (RECO_IMAGE_TIMEOUT_S)"
            raise PictureError(reason, may_pass=True) from None
        except (httpx.TransportError, OSError) as error:
            reason = f"{target.host.host} cannot be reached: {error or type(error).__name__}"
            raise PictureError(reason, may_pass=True) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise PictureError(f"{target.host.host}: {error or type(error).__name__}") from error

    async def _follow(self, target: _Target) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            found = await self._get(target)
            if isinstance(found, bytes):
                return found
            target = self._allowed(str(target.url.join(found)), "it redirects to ")
        raise PictureError(f"{target.host.host} redirects more than {MOST_REDIRECTS} times")

    async def _get(self, target: _Target) -> bytes | str:
        """The body, or where a redirect leads."""
        address = await checked_address(target.host)
        request = self._client.build_request(
            "GET",
            target.url.copy_with(host=address, fragment=None),
            headers=HEADERS | {"Host": target.url.netloc.decode("ascii")},
            extensions={"sni_hostname": target.host.host},  # the certificate must be of the host, not of the address
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.has_redirect_location:
                return response.headers["Location"]
            return await self._body(response, target.host.host)
        finally:
            await response.aclose()

    async def _body(self, response: httpx.Response, host: str) -> bytes:
        if response.status_code != httpx.codes.OK:
            status = response.status_code
            raise PictureError(f"{host} responded {status}", may_pass=status in TRANSIENT)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise PictureError(f"{host} sends the picture compressed; expected it as it is")
        too_large = PictureError(f"the picture has more than {self._max_bytes:,} bytes (RECO_IMAGE_MAX_BYTES)")
        if int(response.headers.get("Content-Length", 0)) > self._max_bytes:
            raise too_large
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._max_bytes:
                raise too_large
        return bytes(body)

    def _allowed(self, url: str, what: str = "") -> _Target:
        """The URL with its host; PictureError where the operator does not list that."""
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise PictureError(f"{what}{url[:120]!r} is no URL: {error}") from None
        if parsed.userinfo:
            raise PictureError(f"{what}a URL with a user name or password; expected one without")
        host = next((one for one in self._hosts if one.serves(parsed)), None)
        if host is None:
            scheme, name, port = origin_of(parsed)
            listed = ", ".join(f"{one.scheme}://{one.host}:{one.port}" for one in self._hosts) or "none"
            raise PictureError(
                f"{what}{scheme}://{name}:{port}, which is not among the hosts that pictures are fetched from "
                f"({listed}); the operator lists hosts in RECO_IMAGE_HOSTS"[:500]
            )
        return _Target(parsed, host)

    def _refuse_resting(self, host: ImageHost) -> None:
        until, reason = self._resting.get(host, (0.0, ""))
        if time.monotonic() < until:
            raise PictureError(f"{reason} (a moment ago)", may_pass=True)
