"""Two worker processes behind one port answer as one service."""

import itertools
import os
import signal
import threading
from pathlib import Path

import httpx
import psutil
from duos import Duo, another_bundle, two_workers
from processes import run
from servers import counted, wait_until

USER_EVENT = {"kind": "click", "item_id": "item-7"}


def test_an_event_is_felt_in_the_next_answer_of_the_other_worker(duo: Duo) -> None:
    one, other = duo.clients()
    for number in range(20):
        user = f"new-{number}"
        assert other.get(f"/users/{user}").json()["seen"] == 0
        one.post("/events", json={"user_id": user, **USER_EVENT}).raise_for_status()
        assert other.get(f"/users/{user}").json()["seen"] == 1


def test_a_hidden_item_is_in_no_answer_of_the_other_worker_once_that_is_answered(duo: Duo) -> None:
    one, other = duo.clients()
    first = other.get("/popular?k=1").json()["items"][0]["item_id"]
    one.put(f"/items/{first}/hidden").raise_for_status()
    assert first not in other.get("/popular?k=50").text
    other.delete(f"/items/{first}/hidden").raise_for_status()
    assert one.get("/popular?k=1").json()["items"][0]["item_id"] == first


def test_a_publish_and_a_rollback_answer_once_all_workers_serve_the_bundle(duo: Duo) -> None:
    one, other = duo.clients()
    before = other.get("/readyz").json()["bundle"]
    new = another_bundle(duo.registry)
    one.post(f"/bundles/{new}/publish?force=true").raise_for_status()
    assert other.get("/readyz").json()["bundle"] == new
    other.post("/bundles/rollback").raise_for_status()
    assert one.get("/readyz").json()["bundle"] == before


def test_a_scrape_of_either_worker_counts_the_requests_of_both(duo: Duo) -> None:
    series = 'reco_requests_total{method="GET",route="/items/{item_id}",status="200"}'
    one, other = duo.clients()
    before = counted(one, series)
    for client in (one, other, other):
        client.get("/items/item-1").raise_for_status()
    assert counted(one, series) == counted(other, series) == before + 3
    assert counted(one, "reco_workers_ready") == 2
    assert counted(one, "reco_workers_silent") == 0


def test_limits_and_caches_of_the_workers_add_up_to_the_settings(duo: Duo) -> None:
    assert counted(duo.any_worker, 'reco_limit{of="requests_in_flight"}') == 512
    assert counted(duo.any_worker, 'reco_limit{of="answers_bytes"}') == 128_000_000


def test_what_a_killed_worker_has_counted_and_shown_stays_counted(duo: Duo) -> None:
    series = 'reco_requests_total{method="GET",route="/popular",status="200"}'
    for client in duo.clients():
        client.get("/popular").raise_for_status()
    shown, killed = counted(duo.any_worker, series), duo.pids()[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in duo.pids())
    restarted = counted(duo.connect(), series)
    wait_until(duo.whole)
    assert shown == restarted == counted(duo.connect(), series)


def test_a_killed_worker_takes_no_acknowledged_event_with_it(tmp_path: Path) -> None:
    with two_workers(tmp_path) as duo:
        acknowledged: list[str] = []
        stop = threading.Event()

        def send(sender: int) -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                event_id = f"{sender}-{number}"
                with httpx.Client(base_url=duo.any_worker.base_url, timeout=60) as client:
                    try:
                        response = client.post("/events", json={"user_id": "u", "event_id": event_id, **USER_EVENT})
                    except httpx.TransportError:  # it was on a connection to the killed worker
                        continue
                assert response.status_code == 202
                acknowledged.append(event_id)

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) > 50)
        killed = duo.pids()[0]
        os.kill(killed, signal.SIGKILL)
        n_before = len(acknowledged)
        wait_until(lambda: killed not in duo.pids() and duo.whole() and len(acknowledged) > n_before + 50)
        stop.set()
        for thread in threads:
            thread.join()
        assert counted(duo.any_worker, "reco_worker_restarts_total") == 1
        data = {"registry": duo.registry, "data": tmp_path / "data"}
        exported = run("export-events", "--out", tmp_path / "events.parquet", **data)
        assert exported.returncode == 0
        import pyarrow.parquet

        stored = pyarrow.parquet.read_table(tmp_path / "events.parquet")["event_id"].to_pylist()
        assert set(acknowledged) <= set(stored)
        assert len(stored) == len(set(stored))


def test_a_caller_gets_no_more_from_two_workers_than_from_one(tmp_path: Path) -> None:
    with two_workers(tmp_path, rate_limit_per_s=0.001, rate_limit_burst=40) as duo:
        clients = [duo.connect() for _ in range(8)]
        statuses = [client.get("/popular?k=1").status_code for _ in range(10) for client in clients]
        assert statuses.count(200) <= 40
        assert statuses.count(429) >= 40


def test_sigterm_drains_all_workers_and_then_ends_the_supervisor_by_the_signal(tmp_path: Path) -> None:
    with two_workers(tmp_path, drain_delay_s=1) as duo:
        one, other = duo.clients()
        pids = duo.pids()
        duo.running.send_signal(signal.SIGTERM)
        wait_until(lambda: one.get("/readyz").json().get("error") == "draining")
        wait_until(lambda: other.get("/readyz").json().get("error") == "draining")
        assert one.get("/popular").status_code == other.get("/popular").status_code == 200
        assert duo.running.wait(60) == -signal.SIGTERM
        assert not any(psutil.pid_exists(pid) for pid in pids)


def test_workers_whose_supervisor_is_killed_stop(tmp_path: Path) -> None:
    with two_workers(tmp_path) as duo:
        pids = duo.pids()
        duo.running.kill()
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_bundle_that_cannot_be_served_is_one_error_and_no_start(tmp_path: Path) -> None:
    done = run("run", "--workers", "2", registry=tmp_path, port=0)
    assert done.returncode == 2
    assert [line.startswith("error: ") for line in done.stderr.splitlines()].count(True) == 1
    assert "has no published bundle" in done.stderr


def test_a_port_that_another_service_has_is_one_error_and_no_start(duo: Duo) -> None:
    done = run("run", "--workers", "2", registry=duo.registry, port=duo.any_worker.base_url.port)
    assert done.returncode == 2
    assert done.stderr.endswith("Address already in use; RECO_PORT or --port names another\n")


def test_a_worker_that_crashes_again_and_again_ends_the_service(tmp_path: Path) -> None:
    with two_workers(tmp_path) as duo:
        (duo.registry / "current.json").unlink()  # no worker can start from now on
        os.kill(duo.pids()[0], signal.SIGKILL)
        assert duo.running.wait(60) == 1
        assert "ended 5 times within 60 s" in duo.log.read_text()


def test_an_item_is_known_to_the_other_worker_once_its_put_is_answered(duo: Duo) -> None:
    one, other = duo.clients()
    for number in range(5):
        before = counted(other, "reco_items_untrained")
        one.put(f"/items/new-{number}", json={"title": "New"}).raise_for_status()
        assert counted(other, "reco_items_untrained") == before + 1
        assert other.get(f"/items/new-{number}").json()["item"]["title"] == "New"
    other.delete("/items/new-0").raise_for_status()
    assert one.get("/items/new-0").status_code == 404
