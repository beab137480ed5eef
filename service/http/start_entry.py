"""The log entry of a start: what is served, where, from which registry, and who may ask."""

from typing import Any

from index.bundle import Bundle
from service.http.console_page import BUILT, PAGE
from service.settings import Settings


def start_entry(settings: Settings, bundle: Bundle, port: int, n_workers: int) -> dict[str, Any]:
    """The facts, by name, without a password or a key; `port` is the one that listens."""
    return {
        "bundle": bundle.bundle_id,
        "model": bundle.manifest.model,
        "registry": _without_password(settings.registry),
        "redis": "none" if settings.redis_url is None else _without_password(settings.redis_url.get_secret_value()),
        "keys": "none" if settings.api_keys_file is None else str(settings.api_keys_file),
        "admin": _admin(settings),
        "address": _url(settings.host, port),
        "console": _console(settings, port),
        "workers": n_workers,
    }


def _admin(settings: Settings) -> str:
    """Who may send admin requests, and where."""
    keyless = settings.api_keys_file is None
    who = ("open to every caller" if settings.admin_open else "closed") if keyless else "by key"
    return who if settings.admin_port is None else f"{who}, on {_url(settings.admin_host, settings.admin_port)}"


def _console(settings: Settings, port: int) -> str:
    """The console's address, or why there is none."""
    if not settings.shows_console:
        if settings.console is False:
            return "off"
        addresses = settings.open_addresses
        reason = f"{addresses[0]} is no loopback address" if addresses else "RECO_TRUSTED_PROXIES names a proxy"
        return f"off, as {reason} (RECO_CONSOLE)"
    if not (BUILT / "index.html").is_file():
        return "not built (make console)"
    if settings.admin_port is not None:
        return _url(settings.admin_host, settings.admin_port) + PAGE
    return _url(settings.host, port) + PAGE


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _without_password(url: str) -> str:
    """A URL as scheme, hosts and path: without user, password and options. A path stays as it is."""
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    return f"{scheme}://{place.rpartition('@')[2]}"
