import json
from pathlib import Path
from typing import Any

import pytest
from bundles import make_content
from processes import process, stop
from servers import publish

from index.bundle import Bundle
from service.http import start_entry as module
from service.http.start_entry import start_entry
from service.settings import Settings

SECRET = "hunter2"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish(tmp_path_factory.mktemp("registry"), make_content())


def entry(bundle: Bundle, **settings: Any) -> dict[str, Any]:
    return start_entry(Settings.model_validate({"registry": "bundles", **settings}), bundle, 8123, 2)


def test_a_start_says_what_is_served_where_and_to_whom(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUILT", Path("no such folder"))
    assert entry(bundle) == {
        "bundle": bundle.bundle_id,
        "model": bundle.manifest.model,
        "registry": "bundles",
        "redis": "none",
        "keys": "none",
        "admin": "closed",
        "address": "http://127.0.0.1:8123",
        "console": "not built (make console)",
        "workers": 2,
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@cache:6379/1", "redis://cache:6379/1"),
        (f"rediss+cluster://me:{SECRET}@a:1,b:2", "rediss+cluster://a:1,b:2"),
        (f"redis://cache?password={SECRET}", "redis://cache"),
        (f"unix://me:{SECRET}@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_redis_is_named_without_its_password(bundle: Bundle, url: str, shown: str) -> None:
    assert entry(bundle, redis_url=url)["redis"] == shown


def test_admin_requests_are_said_to_be_open_closed_or_by_key(bundle: Bundle, tmp_path: Path) -> None:
    assert entry(bundle, admin_open=True)["admin"] == "open to every caller"
    keys = {"api_keys_file": tmp_path / "keys.jsonl", "admin_port": 9001}
    assert entry(bundle, **keys)["admin"] == "by key, on http://127.0.0.1:9001"
    assert entry(bundle, **keys)["keys"].endswith("keys.jsonl")


def test_the_console_has_an_address_or_a_reason(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.html").touch()
    monkeypatch.setattr(module, "BUILT", tmp_path)
    assert entry(bundle)["console"] == "http://127.0.0.1:8123/console"
    assert entry(bundle, admin_port=9001)["console"] == "http://127.0.0.1:9001/console"
    assert entry(bundle, console=False)["console"] == "off"
    assert entry(bundle, host="0.0.0.0")["console"].startswith("off, as 0.0.0.0 is no loopback address")
    admin_outside = entry(bundle, admin_port=9001, admin_host="0.0.0.0")
    assert admin_outside["console"].startswith("off, as 0.0.0.0 is no loopback address")
    proxied = entry(bundle, trusted_proxies=["10.0.0.0/8"])
    assert proxied["console"].startswith("off, as RECO_TRUSTED_PROXIES names a proxy")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_process_logs_it_once(registry: Path, tmp_path: Path, workers: int) -> None:
    with process(registry, tmp_path / "log", workers=workers) as (running, client):
        stop(running)
    lines = map(json.loads, (tmp_path / "log").read_text().splitlines())
    (served,) = [line for line in lines if line["event"] == "serving"]
    assert (served["address"], served["workers"]) == (str(client.base_url).rstrip("/"), workers)
