"""The service with the environment of overlays/cpu: a real process, a real Redis, a fake Kubernetes API."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from built_manifests import find, of_kind, overlay
from servers import Valkey, publish, wait_until
from stand_in_cluster import Cluster, kubeconfig, running

from deploy.manifests import Manifest
from deploy.processes import HOST, child, free_port
from service.http.security.keys import new_key

MOUNTS = ("/srv/anchorrec", "/var/lib/anchorrec", "/etc/anchorrec")


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return overlay("cpu")


@pytest.fixture(scope="module")
def cluster(manifests: list[Manifest]) -> Iterator[Cluster]:
    made = Cluster(find(manifests, "CronJob", "retrain"))
    with running(made):
        yield made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the container's volumes are."""
    folder = tmp_path_factory.mktemp("root")
    for path in MOUNTS:
        (folder / path[1:]).mkdir(parents=True)
    publish(folder / "srv/anchorrec/bundles")
    return folder


@pytest.fixture(scope="module")
def keys(root: Path) -> dict[str, str]:
    made = {role: new_key(role, role) for role in ("read", "admin")}
    (root / "etc/anchorrec/keys.jsonl").write_text("".join(f"{line}\n" for _, line in made.values()))
    return {role: key for role, (key, _) in made.items()}


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def service(
    manifests: list[Manifest], cluster: Cluster, root: Path, keys: dict[str, str], ports: tuple[int, int]
) -> Iterator[httpx.Client]:
    redis = Valkey(root, config={"appendonly": "yes", "maxmemory-policy": "noeviction"}).start()
    (settings,) = (each for each in of_kind(manifests, "ConfigMap") if "RECO_PORT" in each["data"])
    configured = {name: moved(value, root) for name, value in settings["data"].items()}
    elsewhere = {
        "RECO_PORT": str(ports[0]),
        "RECO_ADMIN_PORT": str(ports[1]),
        "RECO_REDIS_URL": redis.url,
        "RECO_RETRAIN_KUBERNETES_NAMESPACE": cluster.cron_job["metadata"]["namespace"],
        "RECO_RETRAIN_KUBERNETES_CONFIG": str(kubeconfig(cluster, root)),
        "RECO_DRAIN_DELAY_S": "0.1",
    }
    command = [sys.executable, "-m", "service", "run"]
    try:
        environment = os.environ | configured | elsewhere
        with child(command, ports[0], environment, lambda client: client.get("/readyz").is_success) as started:
            yield started.client
    finally:
        redis.kill()


def moved(value: str, root: Path) -> str:
    return f"{root}{value}" if value.startswith(MOUNTS) else value


@pytest.fixture
def admin(service: httpx.Client, ports: tuple[int, int], keys: dict[str, str]) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {keys['admin']}"}
    with httpx.Client(base_url=f"http://{HOST}:{ports[1]}", headers=headers) as client:
        yield client


def test_callers_need_a_key_and_find_nothing_of_admins(service: httpx.Client, keys: dict[str, str]) -> None:
    assert service.get("/recommend/u1").status_code == 401
    allowed = {"X-API-Key": keys["read"]}
    assert service.get("/recommend/u1", headers=allowed).status_code == 200
    assert service.get("/metrics", headers=allowed).status_code == 404
    assert service.post("/retrain", headers={"X-API-Key": keys["admin"]}).status_code == 404
    assert service.get("/docs").status_code == service.get("/console", headers=allowed).status_code == 404


def test_prometheus_reads_the_metrics_on_the_admin_port_without_a_key(
    service: httpx.Client, ports: tuple[int, int]
) -> None:
    assert "reco_requests_in_flight" in httpx.get(f"http://{HOST}:{ports[1]}/metrics").raise_for_status().text


def test_a_retraining_is_a_job_of_the_template_with_the_trainers_arguments_behind_its_command(
    admin: httpx.Client, cluster: Cluster, root: Path
) -> None:
    job_id = admin.post("/retrain").raise_for_status().json()["job"]["id"]
    wait_until(lambda: cluster.jobs)
    ((name, job),) = cluster.jobs.items()
    assert name == f"retrain-{job_id}"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    *command, subcommand, data = container["args"][:5]
    assert (command, subcommand) == (["python", "-m", "trainer"], "retrain")
    assert data == f"{root}/srv/anchorrec/data/current"
    given = dict(zip(container["args"][5::2], container["args"][6::2], strict=True))
    assert given["--registry"] == f"{root}/srv/anchorrec/bundles"
    assert given["--events"] == f"{root}/var/lib/anchorrec/retrain/events"
    assert job["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"] == [2]  # the client drops nothing of it
    admin.delete(f"/retrain/{job_id}").raise_for_status()
    wait_until(lambda: cluster.deleted == [name])
