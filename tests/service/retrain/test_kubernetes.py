"""Trainings as Kubernetes Jobs. No API server can be started where these tests run, so a small real HTTP server speaks
the six calls that are made, with answers shaped as the API documents them; the official client asks it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from bundles import make_content
from retrainings import ended, retraining, started, state
from servers import publish, serving, wait_until

from index.bundle import write_bundle
from index.errors import InputError
from index.registry import Registry
from service.retrain.kubernetes import KubernetesLauncher

CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "retrain", "namespace": "shop"},
    "spec": {
        "schedule": "0 3 * * *",
        "jobTemplate": {
            "metadata": {"labels": {"team": "recommendations"}},
            "spec": {
                "backoffLimit": 0,
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [{"name": "trainer", "image": "trainer:1", "args": ["-m", "trainer"]}],
                    }
                },
            },
        },
    },
}
POD = {"metadata": {"name": "pod-1", "creationTimestamp": "2026-01-01T00:00:00Z"}}


@dataclass
class Cluster:
    """Jobs by name, as they were posted; `conditions` are what each of them says."""

    url: str = ""
    jobs: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    away: bool = False

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if self.away:
            return 503, _status(503)
        if (method, path) == ("GET", "/apis/batch/v1/namespaces/shop/cronjobs/retrain"):
            return 200, CRON_JOB
        if (method, path) == ("POST", "/apis/batch/v1/namespaces/shop/jobs"):
            return self._create(body)
        if path == "/api/v1/namespaces/shop/pods":
            return 200, {"kind": "PodList", "items": [POD] if query["labelSelector"][0].startswith("job-name=") else []}
        if path == "/api/v1/namespaces/shop/pods/pod-1/log":
            return 200, "\n".join(["one", "two", "three"][-int(query["tailLines"][0]) :])
        return self._of_job(method, path.removeprefix("/apis/batch/v1/namespaces/shop/jobs/").removesuffix("/status"))

    def _create(self, body: Any) -> tuple[int, Any]:
        name = body["metadata"]["name"]
        if name in self.jobs:
            return 409, _status(409)
        self.jobs[name] = body
        return 201, body

    def _of_job(self, method: str, name: str) -> tuple[int, Any]:
        if name not in self.jobs:
            return 404, _status(404)
        if method == "DELETE":
            self.deleted.append(name)
            del self.jobs[name]
            return 200, _status(200)
        return 200, self.jobs[name] | {"status": {"conditions": self.conditions.get(name, [])}}


def _status(code: int) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": "as asked for"}


@contextmanager
def running(cluster: Cluster) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, answer = cluster.answer(self.command, self.path, json.loads(body or b"null"))
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _do  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    with running(made):
        yield made


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> dict[str, Any]:
    publish(tmp_path / "bundles")
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": cluster.url}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))  # JSON is YAML
    return retraining(
        "unused",
        tmp_path / "bundles",
        retrain_launcher="kubernetes",
        retrain_kubernetes_namespace="shop",
        retrain_kubernetes_cronjob="retrain",
        retrain_kubernetes_config=tmp_path / "kubeconfig",
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


def test_a_cronjob_that_is_not_there_fails_the_job(cluster: Cluster, settings: dict[str, Any]) -> None:
    with serving(**settings | {"retrain_kubernetes_cronjob": "misspelt"}) as client:
        job = ended(client, started(client))
    assert (job["state"], job["reason"]) == ("failed", "the Kubernetes API answered 404: Not Found")


def test_without_kubeconfig_or_pod_the_service_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the Kubernetes API cannot be found"):
        KubernetesLauncher("shop", "retrain", config_file=None)
    with pytest.raises(InputError, match="the Kubernetes API cannot be found"):
        KubernetesLauncher("shop", "retrain", config_file=tmp_path / "absent")
