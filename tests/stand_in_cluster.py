"""A stand-in for the Kubernetes API. No API server can be started where these tests run, so a small real HTTP server
speaks the calls that the launcher makes, with answers shaped as the API documents them; the official client asks it."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
    """Jobs by name, as they were posted; `conditions` are what each of them says; `asked` is every call."""

    cron_job: Mapping[str, Any] = field(default_factory=lambda: CRON_JOB)
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    jobs: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    away: bool = False

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        self.asked.append((method, path))
        named = self.cron_job["metadata"]
        batch, core = (f"/{api}/namespaces/{named['namespace']}" for api in ("apis/batch/v1", "api/v1"))
        if self.away:
            return 503, _status(503)
        if (method, path) == ("GET", f"{batch}/cronjobs/{named['name']}"):
            return 200, self.cron_job
        if (method, path) == ("POST", f"{batch}/jobs"):
            return self._create(body)
        if path == f"{core}/pods":
            return 200, {"kind": "PodList", "items": [POD] if query["labelSelector"][0].startswith("job-name=") else []}
        if path == f"{core}/pods/pod-1/log":
            return 200, "\n".join(["one", "two", "three"][-int(query["tailLines"][0]) :])
        return self._of_job(method, path.removeprefix(f"{batch}/jobs/").removesuffix("/status"))

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


def kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """A file by which the official client finds the server."""
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": cluster.url}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    return path
