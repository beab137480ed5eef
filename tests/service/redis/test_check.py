from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import run
from servers import Valkey, serving

from index.errors import InputError
from service.redis.check import check_redis, needed_commands
from service.settings import Settings

PATTERNS = ("~reco:*", "~{reco:*", "&reco:*")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    made = Valkey(tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"}).start()
    yield made
    made.kill()


CLICK = {"user_id": "user-1", "item_id": "item-1", "kind": "click"}


def settings(url: str, **changes: Any) -> Settings:
    fields = {"redis_url": url, "event_log": "redis", "retrain_data": Path("data"), **changes}
    return Settings(registry="none", **fields)


def allow(server: Valkey, *rules: str) -> str:
    """The URL of a user with these rights."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">pw", *rules)
    return server.url.replace("//", "//shop:pw@")


def least(server: Valkey) -> str:
    """The URL of a user who may do what the service says that it needs, and no more."""
    names = {command.lower() for command, _ in needed_commands(settings(server.url))}
    extra = ("eval", "info", "unsubscribe")
    return allow(server, *PATTERNS, *(f"+{name}" for name in (*sorted(names), *extra)))


def test_every_command_that_is_needed_is_missed_by_name(server: Valkey) -> None:
    for command in sorted({command for command, _ in needed_commands(settings(server.url))}):
        if command != "PING":  # allowed to everybody
            url = allow(server, *PATTERNS, "+@all", f"-{command.lower()}")
            with pytest.raises(InputError, match=f"must allow its user .*{command}"):
                check_redis(settings(url))


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (("+@all", "-eval", "~*", "&*"), "'eval'"),
        (("+@all", "~reco:*", "&*"), r"XADD, .* on \{reco:events\}:stream"),
        (("+@all", "~*"), "PUBLISH, SUBSCRIBE on reco:news"),
    ],
)
def test_a_user_who_lacks_keys_a_channel_or_scripts_is_told(server: Valkey, rules: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_redis(settings(allow(server, *rules)))


def test_without_the_stream_and_retraining_their_commands_are_not_needed(server: Valkey) -> None:
    check_redis(settings(allow(server, *PATTERNS, "+@all", "-xadd", "-hsetnx"), event_log="sqlite"))


def test_a_user_with_no_more_rights_than_listed_serves_all(server: Valkey, registry: Path, tmp_path: Path) -> None:
    fields = {"redis_url": least(server), "event_log": "redis", "rate_limit_per_s": 1_000, "data": tmp_path}
    with serving(registry=registry, retrain_data=tmp_path, retrain_command="false", **fields) as client:
        assert client.post("/events", json=CLICK).status_code == 202
        for path in ("/recommend/user-1", "/quality", "/retrain"):
            assert client.get(path).status_code == 200
        assert client.put("/items/item-1/hidden").status_code == 200
        assert client.delete("/items/item-1/hidden").status_code == 200
        assert client.post("/retrain").status_code == 202
        assert client.get("/readyz").json()["events"] == "accepted"
    with server.client() as client:
        assert [entry["object"] for entry in client.acl_log()] == []


def test_readiness_says_why_events_are_refused(server: Valkey, registry: Path, tmp_path: Path) -> None:
    fields = {"redis_url": server.url, "event_log": "redis", "event_log_timeout_s": 0.5, "data": tmp_path}
    with serving(registry=registry, **fields) as client, server.client() as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        refused = client.post("/events", json=CLICK)
        assert (refused.status_code, refused.json()["error"]) == (503, "event_log_unavailable")
        ready = client.get("/readyz")
        assert (ready.status_code, "maxmemory-policy is allkeys-lru" in ready.json()["events"]) == (200, True)
        assert client.get("/recommend/user-1").status_code == 200


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("{}/99", "DB index is out of range"),
        ("redis://ann:S3cr3t@{}", "invalid username-password pair"),
        ("redis://:S3cr3t#x@{}", "percent-encode"),
        ("rediss://:S3cr3t@{}?ssl_ca_certs=/missing.pem", "its ssl_ options cannot be used: [Errno 2]"),
    ],
)
def test_what_redis_will_never_accept_is_one_line_and_no_start(
    server: Valkey, registry: Path, tmp_path: Path, url: str, said: str
) -> None:
    address = server.url if url.startswith("{") else server.url.partition("//")[2]
    fields = {"redis_url": url.format(address), "event_log": "redis"}
    ended = run("run", registry=registry, data=tmp_path, **fields)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: RECO_REDIS_URL")
    assert said in line
    assert "S3cr3t" not in line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+cluster://{}", "Cluster mode is not enabled"),
        ("redis+cluster://:S3cr3t@{}", "AUTH <password> called without any password"),
        ("redis+sentinel://{}/shop", "unknown command 'SENTINEL'$"),
    ],
)
def test_a_server_of_another_kind_than_the_url_says_is_refused(server: Valkey, url: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_redis(settings(url.format(server.url.partition("//")[2])))


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/shop"])
def test_a_cluster_or_sentinels_that_are_away_fail_no_request(registry: Path, tmp_path: Path, url: str) -> None:
    check_redis(settings(url))
    with serving(registry=registry, data=tmp_path, redis_url=url, rate_limit_per_s=100) as client:
        assert client.get("/recommend/user-1").status_code == 200
        assert client.put("/items/item-1/hidden").status_code == 503


def test_a_redis_that_is_away_or_refuses_only_a_cache_is_no_error(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    check_redis(settings("redis://127.0.0.1:1"))
    monkeypatch.setattr("service.redis.check.log", SimpleNamespace(error=lambda _, why: told.append(why)))
    check_redis(settings(allow(server, "+@all", "-eval", "~*", "&*"), event_log="sqlite"))
    assert "no permissions to run the 'eval' command" in told[0]
    with pytest.raises(InputError, match="DB index is out of range"):
        check_redis(settings(f"{server.url}/99", event_log="sqlite"))
