"""API keys: their file format, and making a new key.

The file has one JSON object per line, so that `>>` adds a key and deleting its line removes it:

    {"name": "shop", "role": "write", "hash": "sha256:…", "expires": "2027-01-01T00:00:00Z"}

Only the hash of a key is stored. A key has 256 random bits and cannot be guessed, so a fast hash is as safe as a slow
one. Empty lines and lines that begin with # are skipped.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from index.errors import InputError
from index.validation import explained
from service.http.security.rate_limit import Rate, rate_of
from service.principal import Principal, Role
from service.settings_types import Burst, PerSecond

PREFIX = "reco_"  # lets scanners of source code and logs recognise a leaked key
SCHEME = "sha256:"
A_LINE = "expected one JSON object a line, as `python -m service new-key` prints it"


class KeyLine(BaseModel):
    """One line of the file of API keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    role: Role
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    expires: AwareDatetime | None = None
    rate_limit_per_s: PerSecond | None = None
    rate_limit_burst: Burst | None = None

    @model_validator(mode="after")
    def _burst_needs_rate(self) -> "KeyLine":
        if self.rate_limit_burst is not None and self.rate_limit_per_s is None:
            raise ValueError("rate_limit_burst needs rate_limit_per_s")
        return self


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A valid key, identified by its digest."""

    digest: bytes
    principal: Principal
    expires: float | None  # unix seconds
    rate: Rate | None  # None: the rate of the settings


def digest_of(key: bytes) -> bytes:
    """The hash that is stored and compared instead of the key."""
    return hashlib.sha256(key).digest()


def new_key(name: str, role: Role, expires: datetime | None = None) -> tuple[str, str]:
    """A new random key, and its line for the file; the key itself is stored nowhere."""
    key = PREFIX + secrets.token_urlsafe(32)
    line = {"name": name, "role": role, "hash": SCHEME + digest_of(key.encode()).hex(), "expires": expires}
    try:
        key_line = KeyLine.model_validate(line)
    except ValidationError as error:
        raise InputError(explained(error, show_values=False)) from None
    return key, key_line.model_dump_json(exclude_none=True)


def read_keys(text: str) -> Mapping[bytes, ApiKey]:
    """The keys of a file by their digest; InputError names the line and never repeats its content.

    Two keys may share a name while one replaces the other; they must then have the same role and rate.
    """
    keys: dict[bytes, ApiKey] = {}
    by_name: dict[str, tuple[object, ...]] = {}
    for number, line in _lines(text):
        key, rights = _api_key(line), (line.role, line.rate_limit_per_s, line.rate_limit_burst)
        if key.digest in keys:
            raise InputError(f"line {number}: a line above has this hash already")
        if by_name.setdefault(line.name, rights) != rights:
            raise InputError(f"line {number}: {line.name!r} has a different role or rate on a line above")
        keys[key.digest] = key
    if not keys:
        raise InputError(f"has no key; {A_LINE}")
    return keys


def _lines(text: str) -> Iterator[tuple[int, KeyLine]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield number, KeyLine.model_validate(orjson.loads(line))
        except orjson.JSONDecodeError:
            raise InputError(f"line {number}: is no JSON; {A_LINE}") from None
        except ValidationError as error:
            raise InputError(f"line {number}: {explained(error, show_values=False)}; {A_LINE}") from None


def _api_key(line: KeyLine) -> ApiKey:
    expires = None if line.expires is None else line.expires.timestamp()
    digest, principal = bytes.fromhex(line.hash.removeprefix(SCHEME)), Principal(line.name, line.role)
    return ApiKey(digest, principal, expires, rate_of(line.rate_limit_per_s, line.rate_limit_burst))
