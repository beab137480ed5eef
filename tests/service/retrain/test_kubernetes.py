"""Trainings as Kubernetes Jobs, of a stand-in for the API."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bundles import make_content
from floods import flooding
from retrainings import ended, retraining, started, state
from servers import publish, serving, wait_until
from stand_in_cluster import CRON_JOB, Cluster, kubeconfig, running

from index.bundle import write_bundle
from index.errors import InputError
from index.registry import Registry
from service.retrain.job import Job, new_job_id
from service.retrain.kubernetes_launcher import KubernetesLauncher
from service.retrain.launcher import LauncherUnavailableError, TrainingTask

JOB: dict[str, Any] = {"trigger": "call", "asked_by": "ann", "created_at": 0, "events_position": 0, "launcher": "x"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    with running(made):
        yield made


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> dict[str, Any]:
    publish(tmp_path / "bundles")
    return retraining(
        "unused",
        tmp_path / "bundles",
        retrain_launcher="kubernetes",
        retrain_kubernetes_namespace="shop",
        retrain_kubernetes_cronjob="retrain",
        retrain_kubernetes_config=kubeconfig(cluster, tmp_path),
    )


def only_job(cluster: Cluster) -> tuple[str, Any]:
    wait_until(lambda: cluster.jobs)
    ((name, job),) = cluster.jobs.items()
    return name, job


def test_a_job_is_made_from_the_template_its_pod_writes_a_bundle_and_it_is_published(
    cluster: Cluster, settings: dict[str, Any]
) -> None:
    with serving(**settings) as client:
        job_id = started(client)
        name, job = only_job(cluster)
        assert name == f"retrain-{job_id}"
        assert job["metadata"]["labels"] == {"team": "recommendations", "anchorrec.io/retrain-job": job_id}
        assert job["spec"]["backoffLimit"] == 0
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "trainer:1"
        assert container["args"][:4] == ["-m", "trainer", "retrain", str(settings["retrain_data"])]
        out = Path(container["args"][container["args"].index("--out") + 1])
        wait_until(lambda: client.get(f"/retrain/{job_id}?log_lines=2").json()["log"] == ["two", "three"])

        cluster.away = True  # for a moment: no reason to give the job up
        assert client.get(f"/retrain/{job_id}").json()["log"][0].startswith("no log: the Kubernetes API answered 503")
        path = write_bundle(settings["registry"], make_content(), created_at=datetime.now(UTC))
        out.mkdir(parents=True)
        (out / "result.json").write_text(json.dumps({"bundle": path.name}))
        cluster.conditions[name] = [{"type": "Complete", "status": "True"}]
        assert state(client, job_id) == "running"
        cluster.away = False
        assert ended(client, job_id)["state"] == "published"
    assert Registry(settings["registry"]).current_id() == path.name


def test_a_job_that_fails_says_why(cluster: Cluster, settings: dict[str, Any]) -> None:
    with serving(**settings) as client:
        job_id = started(client)
        name, _ = only_job(cluster)
        why = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "out of memory"}
        cluster.conditions[name] = [{"type": "Suspended", "status": "False"}, why]
        job = ended(client, job_id)
    assert job["state"] == "failed"
    assert job["reason"].endswith("ended (Failed) without a bundle: BackoffLimitExceeded out of memory")


def test_a_cancelled_job_is_deleted_and_one_that_is_gone_is_lost(cluster: Cluster, settings: dict[str, Any]) -> None:
    with serving(**settings) as client:
        first = started(client)
        name, _ = only_job(cluster)
        client.delete(f"/retrain/{first}")
        assert ended(client, first)["state"] == "cancelled"
        assert cluster.deleted == [name]
        second = started(client)
        only_job(cluster)
        wait_until(lambda: state(client, second) == "running")
        cluster.jobs.clear()
        job = ended(client, second)
        assert (job["state"], job["reason"]) == ("failed", f"lost: the Job retrain-{second} is gone")


def test_a_training_is_created_once_however_often_it_is_started_and_has_its_whole_id_in_its_name(
    cluster: Cluster, settings: dict[str, Any], tmp_path: Path
) -> None:
    long = "retrain-" + 44 * "x"  # as long as a CronJob's name may be
    cluster.cron_job = CRON_JOB | {"metadata": {"name": long, "namespace": "shop"}}
    tasks = [
        TrainingTask(Job(id=new_job_id(0), **JOB), tmp_path, tmp_path, Registry(tmp_path), tmp_path) for _ in range(2)
    ]

    async def start() -> list[Any]:
        launcher = KubernetesLauncher("shop", long, config_file=settings["retrain_kubernetes_config"])
        try:
            handles = [await launcher.start(task) for task in (*tasks, *tasks)]
            assert [await launcher.find(task) for task in tasks] == handles[:2]
        finally:
            await launcher.close()
        return [handle["job"] for handle in handles]

    names = asyncio.run(start())
    assert names[:2] == names[2:] == list(cluster.jobs)
    for name, task in zip(names, tasks, strict=False):
        assert len(name) <= 63
        assert name.endswith(task.job.id)


def test_a_cronjob_that_is_not_there_fails_the_job(cluster: Cluster, settings: dict[str, Any]) -> None:
    with serving(**settings | {"retrain_kubernetes_cronjob": "misspelt"}) as client:
        job = ended(client, started(client))
    assert (job["state"], job["reason"]) == ("failed", "the Kubernetes API answered 404: Not Found")


def test_without_kubeconfig_or_pod_the_service_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the Kubernetes API cannot be found"):
        KubernetesLauncher("shop", "retrain", config_file=None)
    with pytest.raises(InputError, match="the Kubernetes API cannot be found"):
        KubernetesLauncher("shop", "retrain", config_file=tmp_path / "absent")


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("pause_s", [0.0, 0.05], ids=["flood", "drip"])
def test_an_api_that_does_not_end_its_answer_is_unavailable(
    tmp_path: Path, status: int, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pause_s:
        monkeypatch.setattr("service.retrain.kubernetes_launcher.TOTAL_S", 0.2)

    async def poll(config: Path) -> None:
        launcher = KubernetesLauncher("shop", "retrain", config_file=config)
        task = TrainingTask(Job(id="j", **JOB), tmp_path, tmp_path, Registry(tmp_path), tmp_path)
        try:
            await launcher.poll(task, {"job": "j"}, {})
        finally:
            await launcher.close()

    with flooding(status, pause_s=pause_s) as flood:
        config = kubeconfig(Cluster(url=flood.url), tmp_path)
        with pytest.raises(LauncherUnavailableError, match="does not respond"):
            asyncio.run(poll(config))
        assert flood.sent < 40_000_000
