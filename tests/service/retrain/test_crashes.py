"""Real processes that die: the service, the trainer, both. What was asked for is finished or said to be lost."""

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from processes import process
from retrainings import ended, in_training, let_go, retraining, started, state
from servers import Valkey, publish, wait_until
from stand_in_trainer import GOOD, WAITS

from index.registry import Registry
from service.retrain.open_retraining import CONTROL_FILE
from service.retrain.process_launcher import ProcessLauncher, machine_id, start_time


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    publish(tmp_path / "bundles")
    return tmp_path / "bundles"


def settings(how: str, registry: Path, **changes: object) -> dict[str, object]:
    made = retraining(how, registry, admin_open=True, **changes)
    return {name: value for name, value in made.items() if name != "registry"}


def test_a_service_killed_during_a_training_takes_it_up_again_when_it_is_back(registry: Path, tmp_path: Path) -> None:
    waits = settings(WAITS, registry)
    with process(registry, tmp_path / "log", **waits) as (running, client):
        job_id = started(client)
        out = in_training(registry, job_id)
        wait_until(lambda: _is_recorded(registry, job_id), 30)
        trainer = os.getpgid(int((out / "worker").read_text()))
        running.kill()
        running.wait()
    assert start_time(trainer) is not None
    with process(registry, tmp_path / "log", **waits) as (_, client):
        assert state(client, job_id) == "running"
        refused = client.post("/retrain")
        assert (refused.status_code, job_id in refused.json()["detail"]) == (409, True)
        let_go(registry)
        job = ended(client, job_id)
    assert job["state"] == "published", job["reason"]
    assert Registry(registry).current_id() == job["bundle"]
    assert [stage["name"] for stage in job["stages"]] == ["exporting", "training", "gating", "publishing"]


def _is_recorded(registry: Path, job_id: str) -> bool:
    """Whether the service has stored which process trains; one killed before that starts the training again."""
    with closing(sqlite3.connect(registry.parent / "kept" / CONTROL_FILE)) as connection:
        (record,) = connection.execute("SELECT record FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return json.loads(record)["handle"] is not None


def test_a_training_that_died_with_its_service_is_lost_and_the_next_may_begin(registry: Path, tmp_path: Path) -> None:
    before = Registry(registry).current_id()
    with process(registry, tmp_path / "log", **settings(WAITS, registry)) as (running, client):
        job_id = started(client)
        out = in_training(registry, job_id)
        wait_until(lambda: _is_recorded(registry, job_id), 30)
        running.kill()
        running.wait()
        os.killpg(os.getpgid(int((out / "worker").read_text())), signal.SIGKILL)
    with process(registry, tmp_path / "log", **settings(GOOD, registry)) as (_, client):
        job = ended(client, job_id)
        assert (job["state"], job["reason"]) == ("failed", "lost: the trainer ended while no service followed it")
        assert Registry(registry).current_id() == before
        assert ended(client, started(client))["state"] == "published"


def test_a_training_that_was_done_while_no_service_ran_is_published_by_the_next(registry: Path, tmp_path: Path) -> None:
    with process(registry, tmp_path / "log", **settings(WAITS, registry)) as (running, client):
        job_id = started(client)
        out = in_training(registry, job_id)
        wait_until(lambda: _is_recorded(registry, job_id), 30)
        running.kill()
        running.wait()
    let_go(registry)
    wait_until((out / "result.json").exists, 60)
    with process(registry, tmp_path / "log", **settings(WAITS, registry)) as (_, client):
        assert ended(client, job_id)["state"] == "published"


def test_of_two_replicas_one_works_and_the_other_takes_over_when_it_is_killed(registry: Path, tmp_path: Path) -> None:
    """They share Redis and a disk; any of them may be asked."""
    valkey = Valkey(tmp_path / "valkey", config={"appendonly": "yes"}).start()
    shared = settings(WAITS, registry, redis_url=valkey.url, event_log="redis")
    try:
        with (
            process(registry, tmp_path / "log-a", **shared) as (first, one),
            process(registry, tmp_path / "log-b", **shared) as (second, other),
        ):
            job_id = started(other)
            in_training(registry, job_id)
            assert one.post("/retrain").status_code == 409
            leads, follows = (first, other) if _leads(one) else (second, one)
            assert _leads(one) != _leads(other)
            leads.kill()
            wait_until(lambda: _leads(follows), 30)
            let_go(registry)
            assert ended(follows, job_id)["state"] == "published"
    finally:
        valkey.kill()


def _leads(client: httpx.Client) -> bool:
    return "reco_retrain_leader 1.0" in client.get("/metrics").text


def test_a_process_is_known_again_by_when_it_was_started_and_on_which_machine() -> None:
    launcher = ProcessLauncher(["true"], niceness=0, environment={})
    me = {"pid": os.getpid(), "started": start_time(os.getpid()) or "", "machine": machine_id()}
    assert launcher._is_alive(me)
    assert not launcher._is_alive(me | {"started": "1"})  # a stranger who got the number
    assert not launcher._is_alive(me | {"machine": "another"})
