"""Real processes that die: the service, the trainer, both. What was asked for is finished or said to be lost."""

import asyncio
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from processes import process
from retrainings import ended, in_training, let_go, retraining, started, state
from servers import Valkey, publish, wait_until
from stand_in_trainer import GOOD, WAITS

from index.registry import Registry
from service.retrain.job import Handle, Job
from service.retrain.launcher import TrainingTask
from service.retrain.open_retraining import CONTROL_FILE
from service.retrain.process_claim import machine_id, start_time
from service.retrain.process_launcher import ProcessLauncher


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


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_service_killed_by_the_start_of_its_trainer_trains_once(
    registry: Path, tmp_path: Path, *, cancelled: bool
) -> None:
    """The trainer's first act is to kill the service, which can have stored the handle by then, or not."""
    waits = settings(WAITS, registry)
    deadly = waits | {"retrain_command": f"sh -c 'kill -9 $PPID; exec \"$@\"' sh {waits['retrain_command']}"}
    with process(registry, tmp_path / "log", **deadly) as (running, client):
        job_id = started(client)
        running.wait()
    out = in_training(registry, job_id)
    trainer = os.getpgid(int((out / "worker").read_text()))
    with process(registry, tmp_path / "log", **waits) as (_, client):
        if cancelled:
            client.delete(f"/retrain/{job_id}").raise_for_status()
        else:
            let_go(registry)
        job = ended(client, job_id)
    assert job["state"] == ("cancelled" if cancelled else "published"), job["reason"]
    assert (out.parent / "log").read_text().count("begun with") == 1
    assert [stage["name"] for stage in job["stages"]].count("exporting") == 1
    assert start_time(trainer) is None


DIES_AFTER_THE_LAUNCH = """
import asyncio, os, pickle, signal, subprocess, sys

class Deadly(subprocess.Popen):
    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        os.kill(os.getpid(), signal.SIGKILL)

subprocess.Popen = Deadly
launcher, task = pickle.load(sys.stdin.buffer)
asyncio.run(launcher.start(task))
"""


@pytest.mark.parametrize("pause_s", [0.0, 0.5])
def test_a_training_whose_service_died_right_after_the_launch_is_found_or_begun_once(
    registry: Path, tmp_path: Path, pause_s: float
) -> None:
    """Whether the process that was launched has claimed the job by the time that the next service looks, or not."""
    task, launcher = (
        new_task(registry, tmp_path),
        ProcessLauncher(["sh", "-c", "echo begun; sleep 60"], niceness=0, environment=os.environ),
    )
    died = subprocess.run(
        [sys.executable, "-c", DIES_AFTER_THE_LAUNCH], input=pickle.dumps((launcher, task)), check=False
    )
    assert died.returncode == -signal.SIGKILL
    time.sleep(pause_s)

    async def start_again() -> list[Handle]:
        handles = [await launcher.start(task) for _ in range(2)]
        wait_until(lambda: "begun" in task.log.read_text())
        assert await launcher.find(task) == handles[0]
        await launcher.cancel(task, handles[0])
        return handles

    one, other = asyncio.run(start_again())
    assert one == other
    assert start_time(int(one["pid"])) is None
    assert task.log.read_text() == "begun\n"


def test_a_job_that_was_cancelled_before_its_launch_cannot_be_started_by_a_late_process(
    registry: Path, tmp_path: Path
) -> None:
    task, launcher = (
        new_task(registry, tmp_path),
        ProcessLauncher(["echo", "begun"], niceness=0, environment=os.environ),
    )
    assert asyncio.run(launcher.find(task)) is None
    handle = asyncio.run(launcher.start(task))
    assert not launcher._is_alive(handle)
    assert not task.log.exists()


def new_task(registry: Path, folder: Path) -> TrainingTask:
    job = Job(id="j1", trigger="call", asked_by="ann", created_at=0, events_position=0, launcher="process")
    return TrainingTask(job, folder, folder, Registry(registry), folder)


def _is_recorded(registry: Path, job_id: str) -> bool:
    """Whether the service has stored which process trains."""
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
