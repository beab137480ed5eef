"""Parses the URL of Redis, and refuses what it cannot read in one sentence that quotes nothing of a password."""

import ipaddress
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

SINGLE, UNIX, SENTINEL, CLUSTER = "", "unix", "sentinel", "cluster"
KINDS = {
    "redis": SINGLE,
    "rediss": SINGLE,
    "unix": UNIX,
    "redis+sentinel": SENTINEL,
    "rediss+sentinel": SENTINEL,
    "redis+cluster": CLUSTER,
    "rediss+cluster": CLUSTER,
}
DEFAULT_PORT = {SINGLE: 6379, SENTINEL: 26379, CLUSTER: 6379}

# Not urlsplit: it drops line breaks, reads a missing host as none, and quotes the password in some of its errors.
URL = re.compile(r"([A-Za-z+]+)://([^/?#]*)(/[^?#]*)?(?:\?([^#]*))?(#.*)?")
HOST = re.compile(r"[A-Za-z0-9._-]+")
NAME = re.compile(r"[a-z0-9_]{1,40}")
BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
SECRETS = {"username", "password", "sentinel_username", "sentinel_password", "ssl_password"}

ENCODE = "percent-encode the user and the password: # is %23, / is %2F, ? is %3F, @ is %40, % is %25"
TLS_VERSIONS = {
    **{"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3},
    **{"771": ssl.TLSVersion.TLSv1_2, "772": ssl.TLSVersion.TLSv1_3},
}


def _tls_version(value: str) -> ssl.TLSVersion:
    if value not in TLS_VERSIONS:
        raise ValueError(f"expected one of {', '.join(TLS_VERSIONS)}")
    return TLS_VERSIONS[value]


def _verify_flags(value: str) -> list[ssl.VerifyFlags]:
    names = [name.strip() for name in value.split(",")]
    if not set(names) <= set(ssl.VerifyFlags.__members__):
        raise ValueError(f"expected names among {', '.join(ssl.VerifyFlags.__members__)}")
    return [ssl.VerifyFlags[name] for name in names]


Text = Annotated[str, Field(min_length=1)]
Natural = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Flags = Annotated[list[ssl.VerifyFlags] | None, BeforeValidator(_verify_flags)]


class _Options(BaseModel):
    """The options of every URL, by their names in redis-py."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: Text | None = None
    password: str | None = None
    client_name: Text | None = None
    health_check_interval: Natural = 0
    max_connections: Annotated[int, Field(ge=1)] = 1
    socket_connect_timeout: Seconds | None = None
    socket_read_size: Annotated[int, Field(ge=1)] = 1
    socket_timeout: Seconds | None = None


class _UnixOptions(_Options):
    db: Natural = 0


class _ClusterOptions(_Options):
    socket_keepalive: bool = False
    ssl_ca_certs: Text | None = None
    ssl_ca_data: Text | None = None
    ssl_cert_reqs: Literal["none", "optional", "required"] = "required"
    ssl_certfile: Text | None = None
    ssl_check_hostname: bool = True
    ssl_ciphers: Text | None = None
    ssl_exclude_verify_flags: Flags = None
    ssl_include_verify_flags: Flags = None
    ssl_keyfile: Text | None = None
    ssl_min_version: Annotated[ssl.TLSVersion | None, BeforeValidator(_tls_version)] = None


class _ServerOptions(_ClusterOptions):
    db: Natural = 0
    ssl_ca_path: Text | None = None
    ssl_password: Text | None = None


class _SentinelOptions(_ServerOptions):
    sentinel_password: Text | None = None
    sentinel_username: Text | None = None


OPTIONS: Mapping[str, type[_Options]] = {
    SINGLE: _ServerOptions,
    UNIX: _UnixOptions,
    SENTINEL: _SentinelOptions,
    CLUSTER: _ClusterOptions,
}


@dataclass(frozen=True)
class RedisUrl:
    """What a URL says. The options are those of redis-py; a connection to a sentinel has its own."""

    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...]  # none for a unix socket
    path: str  # of a unix socket; under Sentinel the name of the service
    options: Mapping[str, Any] = field(repr=False)  # they hold the password
    sentinel_options: Mapping[str, Any] = field(repr=False)


def parse_redis_url(url: str) -> RedisUrl:
    """The parts of the URL; ValueError says what is wrong without quoting a user, a password or a host."""
    if " " in url or not url.isprintable():
        raise ValueError("holds a space, a line break or another character that a URL must percent-encode")
    found = URL.fullmatch(url)
    scheme = found[1].lower() if found else ""
    if found is None or scheme not in KINDS:
        raise ValueError(f"expected a URL with one of the schemes {', '.join(KINDS)}, as in redis://host:6379")
    kind, (authority, path, query) = KINDS[scheme], (part or "" for part in found.group(2, 3, 4))
    if found[5] or "@" in path + query or authority.count("@") > 1 or BARE_PERCENT.search(url):
        raise ValueError(f"it has a #, or an @ or % in a wrong place; {ENCODE}")
    credentials, _, servers = authority.rpartition("@")
    given = dict(_credentials(credentials, with_at="@" in authority))
    hosts = _no_hosts(servers) if kind == UNIX else tuple(_hosts(servers, kind))
    name, database = _read_path(path, kind)
    if database:
        given["db"] = database
    tls = scheme.startswith("rediss")
    options = _options(given, list(_pairs(query)), OPTIONS[kind], scheme)
    own = {key.removeprefix("sentinel_"): options.pop(key) for key in list(options) if key.startswith("sentinel_")}
    shared = {key: value for key, value in options.items() if key.startswith("ssl_")}
    return RedisUrl(kind, tls, hosts, name, options, shared | own)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("its percent-encoding is not UTF-8") from None


def _credentials(text: str, *, with_at: bool) -> Iterator[tuple[str, str]]:
    user, colon, password = text.partition(":")
    if with_at and (not colon or not (user or password)):
        raise ValueError("expected :password@ or user:password@ before the host")
    if user:
        yield "username", _decoded(user)
    if with_at:
        yield "password", _decoded(password)


def _no_hosts(servers: str) -> tuple[tuple[str, int], ...]:
    if servers:
        raise ValueError("a unix URL has three slashes before its path, as in unix:///run/redis.sock")
    return ()


def _hosts(servers: str, kind: str) -> Iterator[tuple[str, int]]:
    if kind == SINGLE and "," in servers:
        raise ValueError("redis:// has one host; several need redis+sentinel:// or redis+cluster://")
    for server in servers.split(","):
        host, port = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::(.*))?", server, re.DOTALL).group(1, 2)  # type: ignore[union-attr]
        yield _host(host), DEFAULT_PORT[kind] if port is None else _port(port)


def _host(text: str) -> str:
    if not text:
        raise ValueError("expected at least one host after //, and none that is empty, as in host:port")
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(_decoded(text[1:-1])))
        except ValueError:
            raise ValueError("expected an IPv6 address between [ and ]") from None
    if not HOST.fullmatch(text):
        raise ValueError("a host has letters, digits, dots and hyphens, an IPv6 address brackets, as in [::1]:6379")
    return text


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        raise ValueError("expected a port from 1 to 65535 after the host (an IPv6 address has brackets)")
    return int(text)


def _read_path(path: str, kind: str) -> tuple[str, str]:
    """The socket's path or the service's name, and the database."""
    if kind == UNIX:
        if path in ("", "/"):
            raise ValueError("expected the path of a socket, as in unix:///run/redis.sock")
        return _decoded(path), ""
    if kind == CLUSTER:
        if path.strip("/"):
            raise ValueError("a cluster has one database only: expected no path after the hosts")
        return "", ""
    name = ""
    rest = path.removeprefix("/")
    if kind == SENTINEL:
        name, _, rest = rest.partition("/")
        if not name:
            raise ValueError("a sentinel URL ends in the name of the service: redis+sentinel://host,host/NAME[/db]")
    if rest and not re.fullmatch("[0-9]{1,9}", rest):
        raise ValueError("expected a database's number as the path's last part, as in redis://host:6379/0")
    return _decoded(name), rest


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError("expected options as in ?socket_timeout=1&db=0 (an & or = in a value is %26 or %3D)")
        yield name, _decoded(value)


def _options(given: dict[str, str], query: list[tuple[str, str]], model: type[_Options], scheme: str) -> dict[str, Any]:
    """The options in the types of redis-py, without those that are not given."""
    for i, (name, value) in enumerate(query):
        if name not in model.model_fields:
            # After a password in the query, what looks like an option may be the end of the password.
            may_show = NAME.fullmatch(name) and not SECRETS.intersection(before for before, _ in query[:i])
            found = f"option {name!r}" if may_show else "an option"
            raise ValueError(f"{found} is unknown to {scheme}://, which knows {', '.join(model.model_fields)}")
        if name in given:
            raise ValueError(f"{name} is given twice")
        if name.startswith("ssl_") and not scheme.startswith("rediss"):
            raise ValueError(f"option {name!r} needs TLS: rediss instead of redis")
        given[name] = value
    try:
        return model.model_validate(given).model_dump(exclude_unset=True)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        raise ValueError(f"{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}") from None
