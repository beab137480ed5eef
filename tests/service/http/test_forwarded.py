"""Who called, as the proxies tell it that are trusted."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from servers import serving

from index.errors import InputError
from service.http.forwarded import MOST_HOPS, ForwardedMiddleware
from service.settings import load_settings


def caller(peer: str, *forwarded: str, trusted: str = "10.0.0.0/8") -> str:
    """The client's address in the scope, where this peer connects with these X-Forwarded-For headers."""
    headers = [(b"x-forwarded-for", text.encode("latin-1")) for text in forwarded]
    scope: dict[str, Any] = {"type": "http", "client": (peer, 1), "headers": headers}

    async def app(*_: Any) -> None: ...

    asyncio.run(ForwardedMiddleware(app, trusted.split(","))(scope, None, None))  # type: ignore[arg-type]
    return str(scope["client"][0])


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1", "0:0:0:0:0:ffff:10.0.0.1"])
@pytest.mark.parametrize("trusted", ["10.0.0.1", "10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "*"])
def test_a_trusted_proxy_is_known_in_every_spelling(peer: str, trusted: str) -> None:
    assert caller(peer, "198.51.100.7", trusted=trusted) == "198.51.100.7"


@pytest.mark.parametrize("peer", ["11.0.0.1", "::10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1", "fe80::1%eth0", "x", ""])
def test_whoever_only_carries_its_address_is_not_trusted(peer: str) -> None:
    assert caller(peer, "198.51.100.7") == peer


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        (["203.0.113.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (["203.0.113.9, 198.51.100.7, ::ffff:10.0.0.2, [::ffff:a00:3]:80"], "198.51.100.7"),
        (["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (["203.0.113.9, [::ffff:c633:6407]:4711"], "198.51.100.7"),
        (["2001:0DB8::0001%eth0"], "2001:db8::1"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["198.51.100.7, ,"], "198.51.100.7"),
        (["198.51.100.7, unknown"], "unknown"),
        (["198.51.100.7, " + "9" * 9_999], "unknown"),
        (["\xff"], "unknown"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_the_caller_is_the_last_one_that_is_no_trusted_proxy(forwarded: list[str], found: str) -> None:
    assert caller("10.0.0.1", *forwarded) == found


def test_only_the_last_hops_of_an_endless_header_are_read() -> None:
    hops = [f"198.51.100.{i}" for i in range(MOST_HOPS + 10)]
    assert caller("10.0.0.1", ", ".join(hops), trusted="*") == hops[10]


def test_ipv4_callers_behind_a_dual_stack_proxy_have_each_a_rate_and_a_line_in_the_audit(
    registry: Path, tmp_path: Path
) -> None:
    limit = {"rate_limit_per_s": 0.001, "rate_limit_burst": 1, "trusted_proxies": "127.0.0.1"}
    spellings = ["::ffff:198.51.100.7", "64:ff9b::c633:6407", "2002:c633:6407::1", "198.51.100.7:80"]
    with serving(registry=registry, audit_file=tmp_path / "audit", **limit) as client:

        def status(address: str) -> int:
            return client.delete("/items/item-1/hidden", headers={"X-Forwarded-For": address}).status_code

        assert [status(f"::ffff:198.51.100.{i}") for i in range(7)] == [200] * 7
        assert status("[::ffff:198.51.100.7]:4711") == 200
        assert [status(address) for address in spellings] == [429] * len(spellings)
    audited = [json.loads(line)["from"] for line in (tmp_path / "audit").read_text().splitlines()]
    assert audited[::2] == [f"198.51.100.{i}" for i in range(8)]


@pytest.mark.parametrize("wrong", ["10.0.0", "proxy.example", "10.0.0.0/33", "10.0.0.1, x"])
def test_a_proxy_that_is_no_address_stops_the_start(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("RECO_REGISTRY", "bundles")
    monkeypatch.setenv("RECO_TRUSTED_PROXIES", wrong)
    with pytest.raises(InputError, match=r"RECO_TRUSTED_PROXIES: .*does not appear to be an IPv4 or IPv6 network"):
        load_settings()
