"""Faults while items are put, against the process itself: what was acknowledged is there."""

import asyncio
import os
import resource
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from disks import FORBIDDEN, full_disk
from duos import another_bundle
from patient_callers import PatientCallers, deliver_through_kills
from processes import process, run
from servers import Valkey, publish, serving, wait_until

from deploy.processes import free_port

ITEMS, BATCH = 2_000, 20


def batch(number: int) -> list[dict[str, Any]]:
    return [{"item_id": f"{number}-{i}", "title": f"T{number}", "text": "w" * 200} for i in range(BATCH)]


def on_disk(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "items.sqlite")) as file:
        return [item_id for (item_id,) in file.execute("SELECT item_id FROM items WHERE body IS NOT NULL")]


def test_kill_9_while_items_are_put_loses_none_that_was_acknowledged_and_keeps_no_half(
    registry: Path, tmp_path: Path
) -> None:
    port = free_port()
    callers = PatientCallers(port, "/items", map(batch, range(ITEMS // BATCH)))

    def whole(acknowledged: list[dict[str, Any]]) -> None:
        stored = on_disk(tmp_path)
        assert {item["item_id"] for item in acknowledged} <= set(stored)
        assert len(stored) % BATCH == 0  # all or none of each request

    start = partial(process, registry, tmp_path / "log", port=port, data=tmp_path)
    asyncio.run(deliver_through_kills(callers, ITEMS, start, whole))
    assert sorted(on_disk(tmp_path)) == sorted(one["item_id"] for n in range(ITEMS // BATCH) for one in batch(n))
    with closing(sqlite3.connect(tmp_path / "items.sqlite")) as file:
        (n_items,) = file.execute("SELECT n_items FROM state").fetchone()
        (last,) = file.execute("SELECT max(position) FROM items").fetchone()
        assert (n_items, last >= ITEMS) == (ITEMS, True)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_refuses_items_serves_on_and_takes_them_when_there_is_room(registry: Path, tmp_path: Path) -> None:
    with process(registry, tmp_path / "log", data=tmp_path) as (running, client):
        # No file of the process can grow beyond a megabyte.
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        acknowledged: list[str] = []
        refused = None
        for number in range(1_000):
            response = client.post("/items", json=batch(number))
            if response.status_code != 202:
                refused = response
                break
            acknowledged += [item["item_id"] for item in batch(number)]
        assert refused is not None
        assert (refused.status_code, refused.json()["error"]) == (503, "item_store_unavailable")
        assert refused.headers["retry-after"] == "5"
        assert sorted(on_disk(tmp_path)) == sorted(acknowledged)
        assert client.get(f"/items/{acknowledged[0]}").status_code == 200
        assert client.get("/recommend/user-1").status_code == 200
        assert client.get("/readyz").json()["items"].startswith("refused: the item store cannot be written")
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert client.post("/items", json=batch(number)).json()["changed"] == BATCH
        assert len(on_disk(tmp_path)) == len(acknowledged) + BATCH
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("used", [True, False], ids=["used", "fresh"])
def test_a_service_that_starts_on_a_full_disk_shows_stored_items_and_takes_others_when_there_is_room(
    registry: Path, tmp_path: Path, used: bool
) -> None:
    fields = {"registry": registry, "data": tmp_path / "data"}
    if used:
        with serving(**fields) as client:
            client.post("/items", json=batch(0))
    with ExitStack() as stack:
        with full_disk():
            client = stack.enter_context(serving(**fields))
            assert client.get("/items/0-1").status_code == (200 if used else 404)
            assert len(client.get("/items?k=500").json()["items"]) == 40 + used * BATCH
            assert client.put("/items/new", json={}).json()["error"] == "item_store_unavailable"
            assert client.get("/readyz").json()["items"].startswith("refused: the item store cannot be written")
        assert client.post("/items", json=batch(1)).json()["changed"] == BATCH
        assert client.get("/readyz").json()["items"] == "accepted"


def test_a_folder_that_nobody_may_write_into_is_no_reason_not_to_show_the_catalogue(registry: Path) -> None:
    with serving(registry=registry, data=FORBIDDEN) as client:
        assert len(client.get("/items?k=500").json()["items"]) == 40
        assert client.put("/items/new", json={}).status_code == 503


def test_a_file_that_is_none_of_ours_is_one_line_and_no_start(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "items.sqlite").write_bytes(b"garbage" * 1_000)
    ended = run("run", registry=registry, data=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: item store ")
    assert "file is not a database" in line


def test_redis_killed_under_the_items_refuses_changes_and_has_all_that_were_acknowledged(
    registry: Path, tmp_path: Path
) -> None:
    server = Valkey(tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"}).start()
    fields = {"redis_url": server.url, "event_log": "redis", "event_log_timeout_s": 1, "redis_retry_s": 0.05}
    try:
        with serving(registry=registry, data=tmp_path, **fields) as client:
            for number in range(10):
                assert client.post("/items", json=batch(number)).status_code == 202
            os.kill(server.pid(), 9)
            refused = client.post("/items", json=batch(10))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert client.get("/items/item-1").status_code == 200
            server.start()
            wait_until(lambda: client.post("/items", json=batch(10)).status_code == 202)
            again = client.post("/items", json=[item for number in range(10) for item in batch(number)])
            assert (again.json()["changed"], again.json()["unchanged"]) == (0, 10 * BATCH)
    finally:
        server.kill()


def test_a_reply_that_was_lost_is_made_good_by_the_same_request(registry: Path, tmp_path: Path) -> None:
    """The write was applied, but not synced in time: sent again, nothing changes, and the answer waits for the sync."""
    server = Valkey(tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"}).start()
    fields = {"redis_url": server.url, "event_log": "redis", "event_log_timeout_s": 0.5}
    try:
        with serving(registry=registry, data=tmp_path, event_log_replicas=1, **fields) as client:
            for _ in range(2):  # no replica ever syncs it
                refused = client.put("/items/new", json={"title": "A"})
                assert (refused.status_code, refused.json()["error"]) == (503, "item_store_unavailable")
        with serving(registry=registry, data=tmp_path, **fields) as client:
            assert client.put("/items/new", json={"title": "A"}).json()["unchanged"] == 1
    finally:
        server.kill()


def test_what_another_program_wrote_into_redis_is_skipped_and_counted(
    registry: Path, tmp_path: Path, durable: Valkey
) -> None:
    fields = {"redis_url": durable.url, "event_log": "redis", "namespace": "odd"}
    with durable.client() as redis:
        for position, (item_id, body) in enumerate([("a", b"\xff"), ("b", b'{"item_id":"c"}'), ("c", b"[]")], 1):
            redis.zadd("{odd:items}:order", {item_id: position})
            redis.hset("{odd:items}:bodies", item_id, body)
    with serving(registry=registry, data=tmp_path, **fields) as client:
        assert client.put("/items/d", json={}).json()["position"] == 4
        assert client.get("/items/a").status_code == 404
        found = [one["item_id"] for one in client.get("/items?k=500").json()["items"]]
        assert (found[-1], len(found)) == ("d", 41)
        assert client.put("/items/a", json={}).json()["changed"] == 1
        assert 'reco_unreadable_values_total{source="items"}' in client.get("/metrics").text


def test_a_swap_while_items_are_put_loses_none(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    publish(registry)
    with serving(registry=registry, data=tmp_path / "data") as client:
        new = another_bundle(registry)
        for number in range(6):
            assert client.post("/items", json=batch(number)).status_code == 202
            if number == 2:
                assert client.post(f"/bundles/{new}/publish?force=true").status_code == 200
        lines = b"\n".join(orjson.dumps(item) for number in range(6) for item in batch(number))
        again = client.post("/items", content=lines, headers={"Content-Type": "application/x-ndjson"}).json()
        assert (again["bundle"], again["unchanged"]) == (new, 6 * BATCH)
