import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import serving

from deploy.processes import free_port
from service import app as application
from service.errors import InvalidRequestError
from service.http.parameters import Query
from service.http.route import Request, route
from service.http.security import audit
from service.http.security.keys import new_key
from service.principal import Role
from service.state import Service


async def act(service: Service, request: Request[Query]) -> dict[str, Any]:
    """An act of an admin."""
    if request.id == "wrong":
        raise InvalidRequestError("no such thing")
    if request.id == "broken":
        raise RuntimeError("secret of the inside")
    return {"done": request.id}


@pytest.fixture(autouse=True)
def _with_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application with two routes of admins that do nothing else."""
    plain = application.health.routes

    def routes() -> list[Any]:
        made: list[Any] = [
            route("/acts/{act_id:path}", act, method="POST", response=None, role="admin"),
            route("/acts", act, response=None, role="admin"),
        ]
        return [*plain(), *made]

    monkeypatch.setattr(application.health, "routes", routes)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, dict[str, dict[str, str]]]:
    """A file with a key for each role, and the headers that show them."""
    file, headers = tmp_path / "keys.jsonl", {}
    for role in ("read", "write", "admin"):
        key, line = new_key(f"a-{role}", role)  # type: ignore[arg-type]
        headers[role] = {"X-API-Key": key}
        with file.open("a") as out:
            out.write(line + "\n")
    return file, headers


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_without_keys_admin_calls_are_refused_until_they_are_opened(registry: Path) -> None:
    with serving(registry=registry, admin_open=False) as client:
        refused = client.post("/acts/a")
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
        assert "RECO_API_KEYS_FILE" in refused.json()["detail"]
    with serving(registry=registry, admin_open=True) as client:
        assert client.post("/acts/a").json()["done"] == "a"


@pytest.mark.parametrize(("role", "status"), [("read", 403), ("write", 403), ("admin", 200)])
def test_only_admins_may_do_what_is_for_admins(registry: Path, keys: Any, role: Role, status: int) -> None:
    with serving(registry=registry, api_keys_file=keys[0]) as client:
        response = client.post("/acts/a", headers=keys[1][role])
        assert response.status_code == status
        if status == 403:
            assert response.json()["detail"] == f"this needs a key of role admin; 'a-{role}' has role {role}"


def test_every_admin_call_is_written_down_before_and_after_it_and_no_secret_with_it(
    registry: Path, keys: Any, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    with serving(registry=registry, api_keys_file=keys[0], audit_file=file) as client:
        for call in ["good", "wrong", "broken", "forged%0A%7B"]:
            client.post(f"/acts/{call}", headers={**keys[1]["admin"], "X-Request-Id": f"r-{call[:4]}"})
        client.get("/acts?token=sesame", headers=keys[1]["admin"])
        client.post("/acts/denied", headers=keys[1]["read"])
        client.post("/acts/nobody")
        client.get("/popular", headers=keys[1]["admin"])
    told = [(r["who"], r["act"], r["method"], r["path"], r.get("status"), r.get("error")) for r in records(file)]
    assert told == [
        ("a-admin", "asked", "POST", "/acts/good", None, None),
        ("a-admin", "answered", "POST", "/acts/good", 200, None),
        ("a-admin", "asked", "POST", "/acts/wrong", None, None),
        ("a-admin", "answered", "POST", "/acts/wrong", 422, "invalid_request"),
        ("a-admin", "asked", "POST", "/acts/broken", None, None),
        ("a-admin", "answered", "POST", "/acts/broken", 500, "failed"),
        ("a-admin", "asked", "POST", "/acts/forged%0A%7B", None, None),
        ("a-admin", "answered", "POST", "/acts/forged%0A%7B", 200, None),
        ("a-admin", "answered", "GET", "/acts", 422, "invalid_request"),
        ("a-read", "asked", "POST", "/acts/denied", None, None),
        ("a-read", "answered", "POST", "/acts/denied", 403, "forbidden"),
    ]
    first = records(file)[0]
    assert (first["request_id"], first["from"], first["role"]) == ("r-good", "127.0.0.1", "admin")
    assert "sesame" not in file.read_text()
    assert not any(headers["X-API-Key"] in file.read_text() for headers in keys[1].values())
    assert file.stat().st_mode & 0o077 == 0


def test_what_cannot_be_written_down_is_not_done(registry: Path, keys: Any) -> None:
    with serving(registry=registry, api_keys_file=keys[0], audit_file=Path("/dev/full")) as client:
        refused = client.post("/acts/a", headers=keys[1]["admin"])
        assert (refused.status_code, refused.json()["error"]) == (503, "audit_unavailable")
        assert client.get("/popular", headers=keys[1]["admin"]).status_code == 200


def test_a_read_that_cannot_be_written_down_is_not_answered(registry: Path, keys: Any) -> None:
    with serving(registry=registry, api_keys_file=keys[0], audit_file=Path("/dev/full")) as client:
        for path, status in (("/acts", 503), ("/retrain", 503), ("/popular", 200)):
            assert client.get(path, headers=keys[1]["admin"]).status_code == status


def test_a_change_whose_answer_cannot_be_written_down_is_answered(
    registry: Path, keys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = audit._append

    def full_after_asking(path: Path, line: bytes) -> None:
        append(path if b'"asked"' in line else Path("/dev/full"), line)

    monkeypatch.setattr(audit, "_append", full_after_asking)
    with serving(registry=registry, api_keys_file=keys[0], audit_file=tmp_path / "audit") as client:
        assert client.post("/acts/a", headers=keys[1]["admin"]).json()["done"] == "a"
    assert [record["act"] for record in records(tmp_path / "audit")] == ["asked"]


def test_refused_calls_of_a_key_fill_no_disk_and_are_all_counted(registry: Path, keys: Any, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    with serving(registry=registry, api_keys_file=keys[0], audit_file=file) as client:
        for _ in range(100):
            assert client.post("/acts/a", headers=keys[1]["read"]).status_code == 403
        assert client.get("/acts", headers=keys[1]["write"]).status_code == 403
        assert client.post("/acts/a", headers=keys[1]["admin"]).status_code == 200
    told = records(file)
    answered = [record["who"] for record in told if record["act"] == "answered"]
    assert answered == ["a-read"] * 10 + ["a-write", "a-admin"]
    assert [(record["who"], record["count"]) for record in told if record["act"] == "refused"] == [("a-read", 90)]


def written(file: Path, *acts: str) -> None:
    async def run() -> None:
        log = audit.Audit(file, lambda: 0.0, lambda: 0.0)
        for act in acts:
            await log.record(act)

    asyncio.run(run())


def test_a_torn_line_is_ended_and_swallows_no_other(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b'{"act":"whole"}\n{"act":"to')
    written(file, "next", "last")
    lines = file.read_bytes().splitlines()
    assert lines[1] == b'{"act":"to'
    assert [json.loads(line)["act"] for line in (lines[0], *lines[2:])] == ["whole", "next", "last"]


def test_a_file_that_another_process_locks_delays_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOCK_TRIES", 2)
    file = tmp_path / "audit.jsonl"
    with file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(audit.AuditError):
            written(file, "asked")
    written(file, "next")
    assert [record["act"] for record in records(file)] == ["next"]


def test_a_line_that_a_full_disk_tears_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, write = tmp_path / "audit.jsonl", os.write
    written(file, "whole")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, line: write(handle, line[:5]))
        with pytest.raises(audit.AuditError):
            written(file, "torn")
    written(file, "next")
    assert [record["act"] for record in records(file)] == ["whole", "next"]


@contextmanager
def two_ports(registry: Path, **settings: Any) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    port = free_port()
    with (
        serving(registry=registry, admin_port=port, **settings) as public,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as admin,
    ):
        yield public, admin


def test_with_a_port_of_their_own_admin_calls_are_answered_there_alone(registry: Path) -> None:
    with two_ports(registry) as (public, admin):
        missing = public.post("/acts/a")
        assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
        assert admin.post("/acts/a").json()["done"] == "a"
        for client in (public, admin):
            assert client.get("/readyz").status_code == client.get("/popular").status_code == 200
            assert client.get("/metrics").status_code == 200


def test_metrics_may_move_to_the_port_of_admins_where_they_need_no_key(registry: Path, keys: Any) -> None:
    with two_ports(registry, api_keys_file=keys[0], metrics_on_admin=True) as (public, admin):
        assert public.get("/metrics", headers=keys[1]["read"]).status_code == 404
        assert "reco_requests_total" in admin.get("/metrics").text
        assert admin.post("/acts/a").status_code == 401
