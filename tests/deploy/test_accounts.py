"""The service's rights at the Kubernetes API are exactly those that its calls need."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from built_manifests import find, of_kind, overlay, pods
from stand_in_cluster import Cluster, kubeconfig, running

from deploy.manifests import OVERLAYS
from index.registry import Registry
from service.retrain.job import Job
from service.retrain.kubernetes_launcher import KubernetesLauncher
from service.retrain.launcher import TrainingTask

VERBS = {"GET": ("list", "get"), "POST": ("create", "create"), "DELETE": ("deletecollection", "delete")}
Right = tuple[str, str, str]  # API group, resource, verb


def needed(method: str, path: str) -> Right:
    """Return the right that the API server requires for a call."""
    group, rest = ("", path.removeprefix("/api/v1/")) if path.startswith("/api/v1/") else ("batch", path[15:])
    _, _, resource, *of_one = rest.split("/")
    subresource = f"/{of_one[1]}" if len(of_one) > 1 else ""
    return group, resource + subresource, VERBS[method][bool(of_one)]


def granted(role: dict[str, Any]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def make_task(folder: Path) -> TrainingTask:
    job = Job(
        id="20260101t000000-00000000", trigger="call", asked_by="me", created_at=0, events_position=0,
        launcher="kubernetes",
    )  # fmt: skip
    return TrainingTask(job, Path("/data"), folder / "events", Registry(Path("/bundles")), folder)


async def whole_life(cluster: Cluster, folder: Path, namespace: str, cron_job: str) -> None:
    launcher = KubernetesLauncher(namespace, cron_job, config_file=kubeconfig(cluster, folder))
    task = make_task(folder)
    handle = await launcher.start(task)
    assert await launcher.poll(task, handle, {}) is None
    assert await launcher.log_tail(task, handle, 2) == ["two", "three"]
    await launcher.cancel(task, handle)
    await launcher.close()


def setting(manifests: list[dict[str, Any]], name: str) -> str:
    (settings,) = [one for one in of_kind(manifests, "ConfigMap") if one["metadata"]["name"].startswith("settings")]
    return str(settings["data"][name])


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_service_has_the_rights_that_a_training_takes_from_its_start_to_its_end_and_no_others(
    name: str, tmp_path: Path
) -> None:
    manifests = overlay(name)
    called = setting(manifests, "RECO_RETRAIN_KUBERNETES_CRONJOB")
    cron_job = find(manifests, "CronJob", called)
    cluster = Cluster(cron_job)
    with running(cluster):
        asyncio.run(whole_life(cluster, tmp_path, cron_job["metadata"]["namespace"], called))
    (role,) = of_kind(manifests, "Role")
    assert {needed(*call) for call in cluster.asked} == granted(role)
    assert [rule["resourceNames"] for rule in role["rules"] if "cronjobs" in rule["resources"]] == [[called]]


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_the_service_has_the_role_and_a_token(name: str) -> None:
    manifests = overlay(name)
    (binding,) = of_kind(manifests, "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["service"]
    assert not of_kind(manifests, "ClusterRole") + of_kind(manifests, "ClusterRoleBinding")
    for account in of_kind(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    tokens = {owner: pod["spec"]["automountServiceAccountToken"] for owner, pod in pods(manifests)}
    assert tokens.pop("Deployment anchorrec") is True
    assert not any(tokens.values())
