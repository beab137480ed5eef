"""The retraining hook over a socket: a trainer in a process of its own, the gate, the registry."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from retrainings import ended, in_training, let_go, retraining, started, state
from servers import counted, publish, serving, wait_until
from stand_in_trainer import FAILS, GOOD, WAITS, WORSE

from index.errors import InputError
from index.registry import Registry
from service.retrain.job import Job
from service.retrain.launcher import TrainingTask
from service.retrain.process_claim import start_time


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """One of its own for each test: retraining changes it."""
    publish(tmp_path / "bundles")
    return tmp_path / "bundles"


def like(user: str, item: str) -> dict[str, str]:
    return {"user_id": user, "item_id": item, "kind": "like"}


def test_a_retraining_reads_the_log_passes_the_gate_and_is_published(registry: Path) -> None:
    before = Registry(registry).current_id()
    with serving(**retraining(GOOD, registry, retrain_arguments="--config 'my own.toml'")) as client:
        client.post("/events", json=[like("user-1", "item-1"), like("user-2", "item-2")])
        job = ended(client, started(client))
        listed = client.get("/retrain").json()["jobs"]
        count = counted(client, 'reco_retrain_jobs_total{state="published"}')
    assert (job["state"], job["reason"], job["asked_by"]) == ("published", "", "anybody")
    assert Registry(registry).current_id() == job["bundle"] != before
    assert [stage["name"] for stage in job["stages"]] == ["exporting", "training", "gating", "publishing"]
    assert all(stage["ended_at"] >= stage["started_at"] for stage in job["stages"])
    assert all(check["passed"] for check in job["gate"]["checks"])
    assert job["log"] == ["begun with ['--config', 'my own.toml']"]
    assert job["events_position"] == 2
    record = Registry(registry).record(job["bundle"])
    assert record.gate is not None
    assert record.gate.report.passed
    assert record.published is not None
    assert (record.published.by, record.published.why) == ("anybody", f"retraining {job['id']}")
    assert ([one["id"] for one in listed], count) == ([job["id"]], 1)


def test_the_archive_holds_every_event_once_however_often_is_retrained(registry: Path) -> None:
    with serving(**retraining(GOOD, registry)) as client:
        for n in range(1, 4):
            client.post("/events", json=[like(f"user-{n}", "item-1")] * 2)
            ended(client, started(client))
        ended(client, started(client))  # nothing new
    archive = registry.parent / "kept" / "retrain" / "events"
    assert pq.read_table(archive)["position"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert len(list(archive.iterdir())) == 3


def test_stored_items_are_exported_for_the_training_where_there_are_any(registry: Path) -> None:
    with serving(**retraining(GOOD, registry)) as client:
        assert ended(client, started(client))["log"] == ["begun with []"]
        client.put("/items/new", json={"title": "New", "attributes": {"price": 3}})
        client.delete("/items/item-1")
        job = ended(client, started(client))
    items = registry.parent / "kept" / "retrain" / job["id"] / "items.parquet"
    assert job["log"] == [f"begun with ['--items', '{items}']"]
    rows = pq.read_table(items).to_pylist()
    assert [(row["item_id"], row["title"], row["deleted"]) for row in rows] == [
        ("new", "New", False),
        ("item-1", None, True),
    ]


def test_a_trainer_that_fails_changes_nothing_and_its_last_line_is_the_reason(registry: Path) -> None:
    before = Registry(registry).current_id(), Registry(registry).ids()
    with serving(**retraining(FAILS, registry)) as client:
        job = ended(client, started(client))
        assert client.get("/recommend/user-1").status_code == 200
    assert job["state"] == "failed"
    assert job["reason"] == "the trainer ended with status 2: error: the loss is nan in epoch 3"
    assert (Registry(registry).current_id(), Registry(registry).ids()) == before


def test_a_bundle_that_the_gate_refuses_is_kept_but_does_not_serve_and_the_job_says_why(registry: Path) -> None:
    before = Registry(registry).current_id()
    with serving(**retraining(WORSE, registry)) as client:
        job = ended(client, started(client))
    assert job["state"] == "refused"
    assert "valid recall@20: 0.0100 (required: at least 0.1900" in job["reason"]
    assert job["bundle"] in Registry(registry).ids()
    assert Registry(registry).current_id() == before


def test_of_two_calls_at_once_one_begins_and_the_other_is_told_which(registry: Path) -> None:
    with serving(**retraining(WAITS, registry)) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/retrain"), range(8)))
        (begun,) = [answer for answer in answers if answer.status_code == 202]
        job_id = begun.json()["job"]["id"]
        for answer in answers:
            if answer is not begun:
                assert (answer.status_code, answer.json()["error"]) == (409, "already_running")
                assert job_id in answer.json()["detail"]
        in_training(registry, job_id)
        let_go(registry)
        assert ended(client, job_id)["state"] == "published"
        assert ended(client, started(client))["state"] == "published"


def test_a_cancelled_training_ends_with_all_its_processes_and_is_not_published(registry: Path) -> None:
    before = Registry(registry).current_id()
    with serving(**retraining(WAITS, registry)) as client:
        job_id = started(client)
        worker = int((in_training(registry, job_id) / "worker").read_text())
        assert start_time(worker) is not None
        assert client.delete(f"/retrain/{job_id}").status_code == 202
        job = ended(client, job_id)
    assert (job["state"], job["reason"]) == ("cancelled", "cancelled by request")
    wait_until(lambda: start_time(worker) is None)
    assert Registry(registry).current_id() == before


def test_a_trainer_that_is_killed_is_a_failed_job_and_the_next_one_may_begin(registry: Path) -> None:
    with serving(**retraining(WAITS, registry)) as client:
        job_id = started(client)
        worker = int((in_training(registry, job_id) / "worker").read_text())
        os.killpg(os.getpgid(worker), signal.SIGKILL)
        job = ended(client, job_id)
        assert (job["state"], job["reason"][:37]) == ("failed", "the trainer was ended by signal 9; it")
        let_go(registry)
        assert ended(client, started(client))["state"] == "published"


def test_a_training_that_takes_too_long_is_ended(registry: Path) -> None:
    with serving(**retraining(WAITS, registry, retrain_timeout_s=0.5)) as client:
        job = ended(client, started(client))
    assert (job["state"], job["reason"]) == ("failed", "the training took longer than 0.5 s and was ended")


def test_enough_new_events_begin_a_retraining_by_themselves_and_only_new_ones_count(registry: Path) -> None:
    with serving(**retraining(GOOD, registry, retrain_after_events=3)) as client:
        client.post("/events", json=[like("user-1", "item-1"), like("user-1", "item-2")])
        assert client.get("/retrain").json()["jobs"] == []
        client.post("/events", json=[like("user-1", "item-3")])
        wait_until(lambda: client.get("/retrain").json()["jobs"], 30)
        (job,) = client.get("/retrain").json()["jobs"]
        assert (job["trigger"], job["asked_by"]) == ("events", "events")
        assert ended(client, job["id"])["state"] == "published"
        client.post("/events", json=[like("user-1", "item-1")])
        wait_until(lambda: counted(client, "reco_retrain_new_events") == 1)
        assert len(client.get("/retrain").json()["jobs"]) == 1


def test_a_warm_start_names_the_run_of_the_last_job_that_was_published(registry: Path) -> None:
    with serving(**retraining(GOOD, registry, retrain_warm_start=True)) as client:
        first = ended(client, started(client))
        assert first["arguments"] == []
        run = registry.parent / "kept" / "retrain" / first["id"] / "out" / "run"
        run.mkdir()
        (run / "result.json").touch()
        assert ended(client, started(client))["arguments"] == ["--warm-start", str(run)]


def test_folders_of_old_jobs_go_and_their_records_stay(registry: Path) -> None:
    with serving(**retraining(FAILS, registry, retrain_keep=2)) as client:
        ids = [ended(client, started(client))["id"] for _ in range(4)]
        folder = registry.parent / "kept" / "retrain"
        wait_until(lambda: not (folder / ids[1]).exists())
        assert [(folder / job_id).exists() for job_id in ids] == [False, False, True, True]
        assert [job["id"] for job in client.get("/retrain", params={"limit": 3}).json()["jobs"]] == ids[:0:-1]
        assert client.get(f"/retrain/{ids[0]}").json()["log"] == []


def test_without_data_to_train_on_every_call_says_what_is_missing(registry: Path) -> None:
    with serving(registry=registry) as client:
        for answer in (client.post("/retrain"), client.get("/retrain"), client.delete("/retrain/x")):
            assert (answer.status_code, answer.json()["error"]) == (409, "retraining_off")
            assert "RECO_RETRAIN_DATA" in answer.json()["detail"]


def test_an_unknown_job_is_404_and_a_caller_who_is_no_admin_is_refused(registry: Path) -> None:
    with serving(**retraining(GOOD, registry)) as client:
        for answer in (client.get("/retrain/none"), client.delete("/retrain/none")):
            assert (answer.status_code, answer.json()["error"]) == (404, "unknown_job")
        assert client.get("/retrain?limit=101").status_code == 422
    with serving(**retraining(GOOD, registry, admin_open=False)) as client:
        assert [client.post("/retrain").status_code, client.get("/retrain").status_code] == [403, 403]


def test_cancelling_what_has_ended_changes_nothing(registry: Path) -> None:
    with serving(**retraining(GOOD, registry)) as client:
        job = ended(client, started(client))
        assert client.delete(f"/retrain/{job['id']}").json()["job"]["state"] == "published"
        assert state(client, job["id"]) == "published"


def test_a_trainer_that_cannot_be_started_is_a_failed_job(registry: Path) -> None:
    with serving(**retraining(GOOD, registry, retrain_command="/no/such/trainer")) as client:
        job = ended(client, started(client))
    assert (job["state"], job["reason"]) == ("failed", "/no/such/trainer cannot be started: No such file or directory")


def test_an_error_that_was_not_foreseen_fails_the_job_and_the_next_one_may_begin(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise KeyError("pid")

    with serving(**retraining(WAITS, registry)) as client:
        job_id = started(client)
        in_training(registry, job_id)
        with monkeypatch.context() as patch:
            patch.setattr("service.retrain.process_launcher.ProcessLauncher._is_alive", unreadable)
            job = ended(client, job_id)
        assert (job["state"], job["reason"]) == ("failed", "unexpected error: KeyError('pid')")
        let_go(registry)
        assert client.post("/retrain").status_code == 202


@pytest.mark.parametrize("result", [b"", b"[]", b"5", b"{}", b"\xff", b"[" * 100_000])
def test_a_result_that_cannot_be_read_is_named(tmp_path: Path, result: bytes) -> None:
    job = Job(id="a", trigger="call", asked_by="me", created_at=0.0, events_position=0, launcher="process")
    task = TrainingTask(job, tmp_path, tmp_path, Registry(tmp_path), tmp_path)
    assert task.read_result() is None
    task.out.mkdir()
    (task.out / "result.json").write_bytes(result)
    with pytest.raises(InputError, match=r"result.json: expected a JSON object with the field `bundle`"):
        task.read_result()
