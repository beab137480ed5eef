"""Faults while events come in, against the process itself: what was acknowledged is there, once."""

import asyncio
import os
import resource
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from disks import FORBIDDEN, full_disk
from patient_callers import PatientCallers, deliver_through_kills
from processes import process, run
from servers import Valkey, serving, wait_until

from deploy.processes import free_port
from service.events.open_log import check_log
from service.settings import Settings

EVENTS, BATCH = 10_000, 50


def batch(number: int) -> list[dict[str, Any]]:
    fields = {"item_id": "item-1", "kind": "click", "request_id": f"r{number % 7}"}
    return [fields | {"event_id": f"{number}-{i}", "user_id": f"user-{number}"} for i in range(BATCH)]


def test_kill_9_while_events_are_written_loses_none_that_was_acknowledged_and_doubles_none(
    registry: Path, tmp_path: Path
) -> None:
    port = free_port()
    callers = PatientCallers(port, "/events", map(batch, range(EVENTS // BATCH)))

    def all_there(acknowledged: list[dict[str, Any]]) -> None:
        assert len(on_disk(tmp_path)) >= len(acknowledged)

    start = partial(process, registry, tmp_path / "log", port=port, data=tmp_path)
    asyncio.run(deliver_through_kills(callers, EVENTS, start, all_there))
    assert sorted(on_disk(tmp_path)) == sorted(e["event_id"] for n in range(EVENTS // BATCH) for e in batch(n))
    with closing(sqlite3.connect(tmp_path / "events.sqlite")) as log:
        assert log.execute("SELECT sum(n) FROM counts WHERE name = 'click'").fetchone() == (EVENTS,)
        assert log.execute("SELECT max(position) FROM events").fetchone() == (EVENTS,)
        assert log.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def on_disk(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "events.sqlite")) as log:
        return [event_id for (event_id,) in log.execute("SELECT event_id FROM events")]


def test_a_full_disk_refuses_events_serves_on_and_takes_them_when_there_is_room(registry: Path, tmp_path: Path) -> None:
    with process(registry, tmp_path / "log", data=tmp_path) as (running, client):
        # No file of the process can grow beyond a megabyte.
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        acknowledged: list[str] = []
        refused = None
        for number in range(400):
            response = client.post("/events", json=batch(number))
            if response.status_code != 202:
                refused = response
                break
            acknowledged += [event["event_id"] for event in batch(number)]
        assert refused is not None
        assert (refused.status_code, refused.json()["error"]) == (503, "event_log_unavailable")
        assert refused.headers["retry-after"] == "5"
        assert sorted(on_disk(tmp_path)) == sorted(acknowledged)
        assert client.get("/recommend/user-1").status_code == 200
        assert client.get("/readyz").status_code == 200
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert client.post("/events", json=batch(number)).json()["accepted"] == BATCH
        assert len(on_disk(tmp_path)) == len(acknowledged) + BATCH
    log = (tmp_path / "log").read_text()
    assert "event_log_unavailable" in log
    assert "Traceback" not in log  # the reason is a sentence: the disk of the log may be as full


@pytest.mark.parametrize(("used", "room"), [(True, 0), (False, 0), (False, 4_096)], ids=["used", "fresh", "a page"])
def test_a_service_that_starts_on_a_full_disk_serves_reads_and_takes_events_when_there_is_room(
    registry: Path, tmp_path: Path, used: bool, room: int
) -> None:
    fields = {"registry": registry, "data": tmp_path / "data", "retrain_data": tmp_path}
    if used:
        with serving(**fields) as client:
            client.post("/events", json=batch(0))
            client.put("/items/item-2/hidden")
    with ExitStack() as stack:
        with full_disk(room):
            client = stack.enter_context(serving(**fields))
            for path in ("/recommend/user-1", "/users/user-0", "/quality", "/popular", "/healthz", "/metrics"):
                assert client.get(path).status_code == 200, path
            assert client.get("/hidden").json()["item_ids"] == (["item-2"] if used else [])
            refused = client.post("/events", json=batch(1))
            assert (refused.status_code, refused.json()["error"]) == (503, "event_log_unavailable")
            assert client.put("/items/item-1/hidden").json()["error"] == "hidden_unavailable"
            assert client.post("/retrain").json()["error"] == "control_unavailable"
            ready = client.get("/readyz").json()
            assert ready["events"].startswith("refused: the event log cannot be written")
            assert "control.sqlite: cannot be written" in ready["control_file"]
        assert client.post("/events", json=batch(1)).json()["accepted"] == BATCH
        assert client.get("/quality").json()["overall"]["events"] == {"click": BATCH * (1 + used)}
        assert client.put("/items/item-1/hidden").status_code == 200
        assert client.get("/hidden").json()["total"] == 1 + used
        assert client.post("/retrain").status_code == 202
        ready = client.get("/readyz").json()
        assert (ready["events"], ready["control_file"]) == ("accepted", "usable")


def test_a_folder_that_nobody_may_write_into_is_no_reason_not_to_serve(registry: Path) -> None:
    check_log(Settings(registry=registry, data=FORBIDDEN))
    with serving(registry=registry, data=FORBIDDEN, retrain_data=FORBIDDEN) as client:
        assert client.get("/recommend/user-1").status_code == 200
        assert client.post("/events", json=batch(0)).status_code == 503
        assert client.get("/retrain").status_code == 503


@pytest.mark.parametrize(("file", "name"), [("events.sqlite", "event log"), ("control.sqlite", "control file")])
def test_a_file_of_ours_that_is_none_is_one_line_and_no_start(
    registry: Path, tmp_path: Path, file: str, name: str
) -> None:
    (tmp_path / file).write_bytes(b"garbage" * 1_000)
    ended = run("run", registry=registry, data=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {name} ")
    assert "file is not a database" in line


def test_redis_killed_under_the_stream_refuses_events_and_has_all_that_were_acknowledged(
    registry: Path, tmp_path: Path
) -> None:
    server = Valkey(tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"}).start()
    fields = {"redis_url": server.url, "event_log": "redis", "event_log_timeout_s": 2}
    try:
        with serving(registry=registry, data=tmp_path, **fields) as client:
            for number in range(20):
                assert client.post("/events", json=batch(number)).status_code == 202
            os.kill(server.pid(), 9)
            refused = client.post("/events", json=batch(20))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert client.get("/recommend/user-1").status_code == 200
            server.start()
            wait_until(lambda: client.post("/events", json=batch(20)).status_code == 202)
            again = client.post("/events", json=[event for number in range(20) for event in batch(number)])
            assert (again.json()["accepted"], again.json()["duplicates"]) == (0, 1_000)
            assert client.get("/quality").json()["overall"]["events"] == {"click": 1_050}
    finally:
        server.kill()
