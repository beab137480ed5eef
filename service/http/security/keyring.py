"""The valid API keys: found by hash for every request, reloaded when their file changes."""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from index.errors import InputError
from service.errors import UnauthorizedError
from service.http.security.keys import ApiKey, digest_of, read_keys

INVALID_TOKEN = 'Bearer realm="anchorrec", error="invalid_token"'

log = structlog.get_logger()


class Keyring:
    """The keys of a file.

    If the file becomes unreadable or invalid, the keys stay as they were and an error is logged, so that a mistake
    in the file does not lock out all callers.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float], on_reload: Callable[[str], None]) -> None:
        self._path = path
        self._clock = clock
        self._on_reload = on_reload
        self._last_error: str | None = None
        self._text, self._keys = self._read()

    def authenticate(self, presented: bytes) -> ApiKey:
        """The key, or UnauthorizedError. The time that this takes depends only on the length of `presented`."""
        digest = digest_of(presented)
        key = self._keys.get(digest)
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise UnauthorizedError("unknown API key", challenge=INVALID_TOKEN)
        if key.expires is not None and self._clock() >= key.expires:
            raise UnauthorizedError(f"the API key of {key.principal.name!r} has expired", challenge=INVALID_TOKEN)
        return key

    async def reload_forever(self, every_s: float) -> None:
        """Read the file periodically: it is small, and its content is more reliable than its modification time."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Replace the keys if the file has changed."""
        try:
            text, keys = self._read()
        except InputError as error:
            self._report_failure(str(error))
            return
        self._last_error = None
        if text != self._text:
            self._text, self._keys = text, keys
            log.info("API keys reloaded", keys=len(keys), names=sorted({key.principal.name for key in keys.values()}))
            self._on_reload("done")

    def _report_failure(self, reason: str) -> None:
        if reason != self._last_error:  # logged once, not at every reload
            self._last_error = reason
            log.error("API keys not reloaded, the previous ones stay valid", error=reason)
            self._on_reload("refused")

    def _read(self) -> tuple[str, Mapping[bytes, ApiKey]]:
        try:
            if self._path.exists() and not self._path.is_file():  # reading a pipe or a device may never end
                raise InputError("expected a file")
            text = self._path.read_text()
            return text, read_keys(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InputError(f"RECO_API_KEYS_FILE: {self._path}: {reason}") from None
        except InputError as error:
            raise InputError(f"RECO_API_KEYS_FILE: {self._path}: {error}") from None
