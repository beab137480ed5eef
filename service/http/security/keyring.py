"""The keys in force: looked up by hash for every request, read anew whenever their file changes."""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from index.errors import InputError
from service.errors import UnauthorizedError
from service.http.security.keys import ApiKey, digest_of, read_keys

REFUSED = 'Bearer realm="anchorrec", error="invalid_token"'

log = structlog.get_logger()


class Keyring:
    """Keys from a file.

    A file that can no longer be read or has become wrong leaves the keys as they were, and says so in the log: a slip
    of an editor must not lock everybody out.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float], on_reload: Callable[[str], None]) -> None:
        self._path = path
        self._clock = clock
        self._on_reload = on_reload
        self._refusal: str | None = None
        self._text, self._keys = self._read()

    def find(self, presented: bytes) -> ApiKey:
        """The key, or UnauthorizedError. What takes time here depends on nothing but the length of what came."""
        digest = digest_of(presented)
        key = self._keys.get(digest)
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise UnauthorizedError("this API key is not known", challenge=REFUSED)
        if key.expires is not None and self._clock() >= key.expires:
            raise UnauthorizedError(f"the API key of {key.principal.name!r} has expired", challenge=REFUSED)
        return key

    async def watch(self, every_s: float) -> None:
        """Read the file again and again. It is small, and what it says is surer than when it was changed."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Take over what the file says now, if that is another thing than before."""
        try:
            text, keys = self._read()
        except InputError as error:
            self._refused(str(error))
            return
        self._refusal = None
        if text != self._text:
            self._text, self._keys = text, keys
            log.info("API keys read anew", keys=len(keys), names=sorted({key.principal.name for key in keys.values()}))
            self._on_reload("done")

    def _refused(self, why: str) -> None:
        if why != self._refusal:  # said once, not every second
            self._refusal = why
            log.error("API keys not read anew, the ones before stay in force", error=why)
            self._on_reload("refused")

    def _read(self) -> tuple[str, Mapping[bytes, ApiKey]]:
        try:
            text = self._path.read_text()
            return text, read_keys(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
            raise InputError(f"RECO_API_KEYS_FILE: {self._path}: {reason}") from None
        except InputError as error:
            raise InputError(f"RECO_API_KEYS_FILE: {self._path}: {error}") from None
