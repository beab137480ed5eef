"""Forgetting over HTTP: what a person's id was in is without it, and the person is unknown."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import stand_in_trainer
from bundles import make_content
from duos import two_workers
from processes import process
from retrainings import ended, in_training, let_go, retraining, started
from servers import CREATED, Valkey, counted, publish, serving, wait_until

from index.bundle import write_bundle
from service.events.open_log import FILE

PERSON = "user-2"  # trained, in the bundle
STRANGER = "the.only@example.org"


def like(client: httpx.Client, user_id: str, item_id: str = "item-1", **fields: Any) -> dict[str, Any]:
    event = {"user_id": user_id, "item_id": item_id, "kind": "like", **fields}
    answer = client.post("/events", json=event)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def source(client: httpx.Client, user_id: str) -> str:
    answer = client.get(f"/recommend/{user_id}")
    assert answer.status_code == 200
    return str(answer.json()["source"])


def forget(client: httpx.Client, user_id: str) -> dict[str, Any]:
    answer = client.delete(f"/users/{user_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def files_with(folder: Path, text: str) -> list[str]:
    """The files below the folder that hold the text as bytes."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in found if text.encode() in path.read_bytes()]


def archived(folder: Path) -> list[dict[str, Any]]:
    tables = [pq.read_table(file).to_pylist() for file in sorted((folder / "retrain" / "events").glob("*.parquet"))]
    return [row for rows in tables for row in rows]


@pytest.fixture(params=["sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The settings of a service with one of the two logs."""
    publish(tmp_path / "registry")
    settings: dict[str, Any] = {"registry": tmp_path / "registry", "data": tmp_path / "data"}
    if request.param == "sqlite":
        yield settings
        return
    server = Valkey(tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"})
    server.folder.mkdir()
    server.start()
    yield settings | {"event_log": "redis", "redis_url": server.url, "redis_budget_ms": 2_000}
    server.kill()


def test_a_person_is_unknown_after_the_receipt_and_after_a_restart(where: dict[str, Any]) -> None:
    with serving(**where) as client:
        trained = client.get(f"/users/{PERSON}").json()
        assert trained["trained"]
        like(client, PERSON)
        assert source(client, PERSON) == "fold_in"
        receipt = forget(client, PERSON)
        assert (receipt["removed"]["events"], receipt["user_id"]) == (1, PERSON)
        assert receipt["pending"] == {"bundles": [receipt["bundle"]], "trainings": []}
        assert source(client, PERSON) == "popular"
        known = client.get(f"/users/{PERSON}").json()
        assert (known["trained"], known["seen"], known["events"]) == (False, 0, 0)
        assert source(client, "user-3") == "user"
        assert counted(client, 'reco_forgettings_total{outcome="done"}') == 1
    with serving(**where) as client:
        assert source(client, PERSON) == "popular"
        like(client, PERSON, "item-5")
        again = client.get(f"/users/{PERSON}").json()  # a new person: the events count, the vector stays out
        assert (again["source"], again["trained"], again["seen"], again["events"]) == ("fold_in", False, 1, 1)
        assert forget(client, PERSON)["receipt"] != receipt["receipt"]
        assert source(client, PERSON) == "popular"


def test_events_of_others_and_sums_stay(where: dict[str, Any]) -> None:
    with serving(**where, log_impressions=True) as client:
        request_id = client.get(f"/recommend/{PERSON}").json()["request_id"]
        wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') == 1)
        shown = client.get("/quality").json()["overall"]["items_shown"]
        like(client, STRANGER)
        like(client, PERSON, request_id=request_id, event_id=f"{PERSON}:1")
        before = client.get("/quality").json()["overall"]
        receipt = forget(client, PERSON)
        assert (receipt["removed"]["events"], receipt["removed"]["answers"]) == (2, 1)
        assert client.get("/quality").json()["overall"] == before
        assert before["items_shown"] == shown
        assert source(client, STRANGER) == "fold_in"
        like(client, "user-4")  # the log goes on
        found = client.get(f"/users/{STRANGER}/export").json()
        assert [event["user_id"] for event in found["events"]] == [STRANGER]


def test_an_unknown_person_is_forgotten_too_and_again(where: dict[str, Any]) -> None:
    with serving(**where) as client:
        for _ in range(2):
            assert set(forget(client, STRANGER)["removed"].values()) == {0}
        assert client.delete("/users/" + "x" * 600).status_code == 422


def test_nothing_in_the_data_folder_holds_the_id(tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    data = tmp_path / "data"
    with serving(registry=tmp_path / "registry", data=data, log_impressions=True) as client:
        for start in range(0, 3_000, 300):  # many pages, whose rows move
            users = [STRANGER if i % 3 == 0 else f"other-{i % 50}" for i in range(start, start + 300)]
            fields = [{"user_id": user, "event_id": f"{user}/{start + i}"} for i, user in enumerate(users)]
            events = [{"item_id": f"item-{i % 7}", "kind": "view", **one} for i, one in enumerate(fields)]
            assert client.post("/events", json=events).json()["accepted"] == 300
        client.get(f"/recommend/{STRANGER}")
        wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') == 1)
        assert files_with(data, STRANGER)
        assert forget(client, STRANGER)["removed"]["events"] == 1_001
        assert files_with(data, STRANGER) == []
        assert files_with(data, "other-1")
    assert files_with(data, STRANGER) == []  # and not after the end, when SQLite writes what it had in memory


def test_a_file_of_version_1_is_wiped_of_what_it_removed_before(tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    data = tmp_path / "data"
    chosen = {"registry": tmp_path / "registry", "data": data}
    with serving(**chosen) as client:
        like(client, STRANGER)
    with closing(sqlite3.connect(data / FILE, isolation_level=None)) as file:
        file.execute("PRAGMA secure_delete = OFF")
        file.execute("DELETE FROM events")  # as version 1 did
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert files_with(data, STRANGER) == [FILE]
    with serving(**chosen) as client:
        forget(client, STRANGER)
        assert files_with(data, STRANGER) == []


def test_redis_holds_nothing_of_the_person(tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    server = Valkey(tmp_path, config={"appendonly": "yes", "appendfsync": "always"}).start()
    chosen = {"event_log": "redis", "redis_url": server.url, "redis_budget_ms": 2_000, "log_impressions": True}
    with serving(registry=tmp_path / "registry", data=tmp_path / "data", **chosen) as client, server.client() as redis:
        assert source(client, PERSON) == "user"
        wait_until(lambda: len(redis.keys(f"*user:*{PERSON}")) == 1)
        like(client, PERSON, event_id=f"{PERSON}-1", request_id="r1")
        wait_until(lambda: counted(client, 'reco_events_total{kind="impression"}') == 1)
        receipt = forget(client, PERSON)
        assert receipt["removed"]["cached_vectors"] == 1
        assert receipt["removed"]["events"] == 2
        held = {key: redis.dump(key) or b"" for key in redis.keys("*") if not key.endswith(b":stream")}
        assert PERSON not in str(redis.xrange("{reco:events}:stream"))
        assert not [key for key, value in held.items() if PERSON.encode() in key + value]
        like(client, PERSON)  # after the newest entry went, positions go on
        assert [event["position"] for event in client.get(f"/users/{PERSON}/export").json()["events"]] == [4]
    server.kill()


def test_the_archive_and_folders_of_ended_trainings_are_rewritten(where: dict[str, Any], tmp_path: Path) -> None:
    chosen = where | retraining(stand_in_trainer.GOOD, tmp_path / "registry", data=tmp_path / "data")
    with serving(**chosen) as client:
        like(client, STRANGER, event_id=f"{STRANGER}/1", quantity=2, portion=0.5)
        like(client, "user-1")
        job = started(client)
        ended(client, job)
        folder = tmp_path / "data" / "retrain"
        assert [row["user_id"] for row in archived(tmp_path / "data")] == [STRANGER, "user-1"]
        assert (folder / job).is_dir()
        removed = forget(client, STRANGER)["removed"]
        assert (removed["archived_events"], removed["archive_files"], removed["training_folders"]) == (1, 1, 1)
        first, second = archived(tmp_path / "data")
        assert (first["kind"], first["user_id"], first["position"]) == ("forgotten", "", 1)
        assert (second["user_id"], second["position"]) == ("user-1", 2)
        assert STRANGER not in str(first)
        assert not (folder / job).exists()
        like(client, STRANGER, "item-7")
        job = started(client)
        ended(client, job)
        users = [row["user_id"] for row in archived(tmp_path / "data") if row["kind"] == "like"]
        assert users == ["user-1", STRANGER]
        assert '"forgotten"' in (folder / job / "forget.json").read_text()
        assert "--forget" in (folder / job / "log").read_text()


def test_a_bundle_whose_training_left_the_person_out_may_have_a_vector_of_the_new_one(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    publish(registry)
    with serving(registry=registry, data=tmp_path / "data") as client:

        def published(**changes: Any) -> None:
            path = write_bundle(registry, make_content(**changes), created_at=CREATED)
            assert client.post(f"/bundles/{path.name}/publish?force=true").status_code == 200

        first, second = (forget(client, PERSON)["receipt"] for _ in range(2))
        published(seed=1)
        assert source(client, PERSON) == "popular"  # made by hand, from data that have the person
        published(seed=2, forgotten=[first])
        assert source(client, PERSON) == "popular"
        published(seed=3, forgotten=[first, second])
        assert source(client, PERSON) == "user"
        forget(client, PERSON)
        assert source(client, PERSON) == "popular"


def test_the_folder_of_a_running_training_goes_when_it_has_ended(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("service.people.forgetting.RETRY_S", 0.05)
    monkeypatch.setattr("service.people.forgetting.UNTOUCHED_S", 0.1)
    publish(tmp_path / "registry")
    registry = tmp_path / "registry"
    with serving(**retraining(stand_in_trainer.WAITS, registry)) as client:
        like(client, STRANGER)
        job = started(client)
        in_training(registry, job)
        receipt = forget(client, STRANGER)
        folder = registry.parent / "kept" / "retrain" / job
        assert receipt["pending"]["trainings"] == [job]
        assert folder.is_dir()
        let_go(registry)
        ended(client, job)
        wait_until(lambda: not folder.exists())
        wait_until(lambda: not list((registry.parent / "kept" / "forgetting").glob("*.json")))


def test_the_export_gives_all_that_is_kept(where: dict[str, Any]) -> None:
    with serving(**where) as client:
        like(client, PERSON, "item-3", value=2.5, quantity=3)
        found = client.get(f"/users/{PERSON}/export").json()
        assert [(event["item_id"], event["value"], event["quantity"]) for event in found["events"]] == [
            ("item-3", 2.5, 3)
        ]
        assert found["vector_source"] == "fold_in"
        assert len(found["trained"]["embedding"]) > 0
        assert found["trained"]["items"]
        assert found["about"].keys() == {"events", "trained", "cached", "forgotten"}
        receipt = forget(client, PERSON)["receipt"]
        after = client.get(f"/users/{PERSON}/export").json()
        assert (after["events"], after["trained"], after["forgotten"]) == ([], None, [receipt])
        assert (after["vector_source"], after["cached"]) == ("popular", {"profile": False, "vectors": []})


def test_two_workers_forget_together(tmp_path: Path) -> None:
    with two_workers(tmp_path) as duo:
        one, other = duo.clients()
        like(one, PERSON)
        assert (source(one, PERSON), source(other, PERSON)) == ("fold_in", "fold_in")
        forget(one, PERSON)
        assert (source(one, PERSON), source(other, PERSON)) == ("popular", "popular")
        assert files_with(tmp_path / "data", PERSON) == []


def test_replicas_forget_within_seconds(tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    server = Valkey(tmp_path, config={"appendonly": "yes", "appendfsync": "always"}).start()
    shared = {"registry": tmp_path / "registry", "event_log": "redis", "redis_url": server.url, "live_poll_s": 0.1}
    with serving(**shared, data=tmp_path / "a") as one, serving(**shared, data=tmp_path / "b") as other:
        assert source(other, PERSON) == "user"
        forget(one, PERSON)
        wait_until(lambda: source(other, PERSON) == "popular")
    server.kill()
    with serving(registry=tmp_path / "registry", data=tmp_path / "b") as alone:  # its own file knows, without Redis
        assert source(alone, PERSON) == "popular"


@contextmanager
def killed_in(step: str, registry: Path, log: Path, data: Path) -> Iterator[httpx.Client]:
    """The service, which kill -9 ends as a forgetting reaches the step."""
    program = ("-c", KILLED, step)
    with process(registry, log, data=data, program=program, admin_open=True) as (_, client):
        yield client


KILLED = """
import os, signal, sys
from index.cli import run_cli
from service.__main__ import app
from service.people import forgetting
from service.people.forgetting import Forgetting
from service.live import LiveUpdates
from service.events.sqlite_log import SqliteLog

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

step = sys.argv.pop(1)
if step == "archive":
    forgetting.forget_in_archive = kill
else:
    owner, name = {"log": (SqliteLog, "forget"), "set": (LiveUpdates, "forget"), "end": (Forgetting, "_finish")}[step]
    setattr(owner, name, kill)
sys.argv.append("run")
run_cli(app)
"""


@pytest.mark.parametrize("step", ["log", "set", "archive", "end"])
def test_a_service_that_was_killed_in_the_middle_goes_on_at_its_start(tmp_path: Path, step: str) -> None:
    publish(tmp_path / "registry")
    registry, data = tmp_path / "registry", tmp_path / "data"
    with killed_in(step, registry, tmp_path / "log", data) as client:
        like(client, PERSON, event_id=f"{PERSON}-1")
        with pytest.raises(httpx.TransportError):
            client.delete(f"/users/{PERSON}")
    assert files_with(data / "forgetting", PERSON)
    with serving(registry=registry, data=data) as client:
        wait_until(lambda: files_with(data, PERSON) == [])
        wait_until(lambda: counted(client, "reco_forgettings_pending") == 0)
        assert source(client, PERSON) == "popular"


def test_what_cannot_be_forgotten_now_is_repeated_until_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.people.forgetting.RETRY_S", 0.1)
    monkeypatch.setattr("service.people.forgetting.UNTOUCHED_S", 0.0)
    publish(tmp_path / "registry")
    server = Valkey(tmp_path, config={"appendonly": "yes", "appendfsync": "always"}).start()
    chosen = {"event_log": "redis", "redis_url": server.url, "event_log_timeout_s": 0.5}
    with serving(registry=tmp_path / "registry", data=tmp_path / "data", **chosen) as client:
        server.kill()
        refused = client.delete(f"/users/{PERSON}")
        assert (refused.status_code, refused.json()["error"]) == (503, "people_unavailable")
        assert "the service repeats it until it succeeds" in refused.json()["detail"]
        server.start()
        wait_until(lambda: counted(client, 'reco_forgettings_total{outcome="done"}') == 1)
        assert source(client, PERSON) == "popular"
        assert files_with(tmp_path / "data", PERSON) == []
    server.kill()


def test_where_nothing_can_be_noted_nothing_is_begun(tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "forgetting").write_text("in its place")
    with serving(registry=tmp_path / "registry", data=tmp_path / "data") as client:
        refused = client.delete(f"/users/{PERSON}")
        assert (refused.status_code, refused.json()["error"]) == (503, "people_unavailable")
        assert "nothing was begun" in refused.json()["detail"]
        assert source(client, PERSON) == "user"
        assert client.get("/readyz").json()["degraded"] == []


def test_the_page_shows_the_receipt_as_it_is(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "people.md").read_text()
    shown = json.loads(page.split("```json")[1].split("```")[0])
    publish(tmp_path / "registry")
    with serving(registry=tmp_path / "registry", data=tmp_path / "data") as client:
        found = forget(client, PERSON)
        assert shown.keys() == found.keys()
        assert all(shown[part].keys() == found[part].keys() for part in ("removed", "pending"))
