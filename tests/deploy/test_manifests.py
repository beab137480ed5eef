"""The Kubernetes manifests are consistent with the service's settings, routes and metrics."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from built_manifests import containers, find, of_kind, overlay, pods

from deploy.manifests import FOLDER, OVERLAYS, Manifest, parsed
from deploy.prometheus_rule import prometheus_rule
from index.__main__ import app
from service.http.routes import health
from service.http.security.admission import NEVER_SHED, OPEN_PATHS
from service.settings import PREFIX, Settings, load_settings
from service.telemetry.metrics import Metrics

SECRETS = {
    ("redis", "url"): "rediss://user:password@redis.example.com:6379/0",
    ("milvus", "token"): "user:password",
}
CLOSING_S = 10  # what is open when the last request has ended: the log, Redis, a swap

pytestmark = pytest.mark.parametrize("name", OVERLAYS)


@pytest.fixture
def manifests(name: str) -> list[Manifest]:
    return overlay(name)


@pytest.fixture
def deployment(manifests: list[Manifest]) -> Manifest:
    return find(manifests, "Deployment", "anchorrec")


@pytest.fixture
def pod(deployment: Manifest) -> Manifest:
    template: Manifest = deployment["spec"]["template"]
    return template


@pytest.fixture
def container(pod: Manifest) -> Manifest:
    (found,) = pod["spec"]["containers"]
    return found


@pytest.fixture
def settings(manifests: list[Manifest], container: Manifest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the container's process reads."""
    for variable, value in environment(manifests, container).items():
        monkeypatch.setenv(variable, value)
    return load_settings()


def environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    """All that the kubelet puts into the container's environment."""
    values: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            values |= find(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            assert source["secretRef"] == {
                "name": "bucket",
                "optional": True,
            }  # credentials, where no identity has them
    for variable in container.get("env", ()):
        values[variable["name"]] = value_of(manifests, variable)
    return values


def value_of(manifests: list[Manifest], variable: dict[str, Any]) -> str:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"]
    if "fieldRef" in source:
        assert source["fieldRef"]["fieldPath"] == "metadata.namespace"
        return str(of_kind(manifests, "Namespace")[0]["metadata"]["name"])
    if "configMapKeyRef" in source:
        return str(
            find(manifests, "ConfigMap", source["configMapKeyRef"]["name"])["data"][source["configMapKeyRef"]["key"]]
        )
    secret = source["secretKeyRef"]
    return SECRETS.get((secret["name"], secret["key"]), "redis://redis:6379/0")


def labels_of(template: Manifest) -> dict[str, str]:
    labels: dict[str, str] = template["metadata"]["labels"]
    return labels


def chosen(manifests: list[Manifest], labels: dict[str, str]) -> set[str]:
    """Return the owners of the pods that a selector matches."""
    return {owner for owner, template in pods(manifests) if labels.items() <= labels_of(template).items()}


def policies(manifests: list[Manifest], template: Manifest) -> Iterator[Manifest]:
    """The specs of the network policies that hold for a pod."""
    for policy in of_kind(manifests, "NetworkPolicy"):
        if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels_of(template).items():
            yield policy["spec"]


def test_every_variable_is_a_setting_and_together_they_are_valid(settings: Settings, manifests: list[Manifest]) -> None:
    assert settings.event_log == "redis"  # several replicas
    assert settings.redis_url is not None
    assert settings.retrain_kubernetes_namespace == of_kind(manifests, "Namespace")[0]["metadata"]["name"]
    assert (settings.api_keys_file is None) == settings.admin_open


def test_only_the_service_is_given_its_settings(manifests: list[Manifest]) -> None:
    configured = {
        container["name"]
        for _, template in pods(manifests)
        for container in containers(template)
        if any(variable.startswith(PREFIX) for variable in environment(manifests, container))
    }
    assert configured == {"service"}


def test_no_variable_comes_from_a_service_of_the_namespace(manifests: list[Manifest]) -> None:
    assert all(template["spec"]["enableServiceLinks"] is False for _, template in pods(manifests))


def test_no_secret_is_in_the_manifests(manifests: list[Manifest], name: str) -> None:
    found = [secret["data"] for secret in of_kind(manifests, "Secret")]
    assert found == ([{"url": "cmVkaXM6Ly9yZWRpczo2Mzc5LzA="}] if name == "dev" else [])  # redis://redis:6379/0


def test_ports_are_those_that_the_service_listens_on(settings: Settings, container: Manifest) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}
    assert settings.host == settings.admin_host == "0.0.0.0"
    assert settings.metrics_on_admin


def test_every_named_port_exists(manifests: list[Manifest]) -> None:
    service = find(manifests, "Service", "anchorrec")
    by_name = {port["name"]: port for port in service["spec"]["ports"]}
    for one_service in of_kind(manifests, "Service"):
        for template in [t for w, t in pods(manifests) if w in chosen(manifests, one_service["spec"]["selector"])]:
            names = {port["name"] for each in containers(template) for port in each.get("ports", ())}
            assert {port["targetPort"] for port in one_service["spec"]["ports"]} <= names
    for ingress in of_kind(manifests, "Ingress"):
        for path in (path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]):
            assert path["backend"]["service"] == {"name": "anchorrec", "port": {"name": "http"}}
            assert path["path"] == "/"
    for monitor in of_kind(manifests, "ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert [(by_name[e["port"]]["targetPort"], e["path"]) for e in monitor["spec"]["endpoints"]] == [
            ("admin", "/metrics")
        ]


def test_prometheus_has_our_rules_and_their_job_name(manifests: list[Manifest], name: str) -> None:
    rules, monitors = of_kind(manifests, "PrometheusRule"), of_kind(manifests, "ServiceMonitor")
    assert len(rules) == len(monitors) == (name != "dev")
    for rule in rules:
        (made,) = parsed(prometheus_rule())
        assert rule["spec"] == made["spec"], "python -m deploy.prometheus_rule > deploy/monitoring/prometheusrule.yaml"
    for monitor in monitors:  # the job is named after the Service
        assert not {"jobLabel", "relabelings"} & {*monitor["spec"], *monitor["spec"]["endpoints"][0]}
        assert f'up{{job="{find(manifests, "Service", "anchorrec")["metadata"]["name"]}"}}' in str(rules)


def test_grafana_has_every_dashboard(manifests: list[Manifest], name: str) -> None:
    maps = of_kind(manifests, "ConfigMap")
    found = [each["data"] for each in maps if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    boards = {path.name: path.read_text() for path in (FOLDER / "grafana" / "dashboards").glob("*.json")}
    assert found == ([] if name == "dev" else [boards])


def test_probes_use_routes_that_need_no_key_and_are_never_shed(container: Manifest) -> None:
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
    }
    paths = {probe["path"] for probe in probes.values()}
    assert paths <= {route.path for route in health.routes()} & OPEN_PATHS & NEVER_SHED


def test_every_selector_matches_the_intended_pods(manifests: list[Manifest]) -> None:
    for kind in ("Deployment", "StatefulSet"):
        for manifest in of_kind(manifests, kind):
            selector = manifest["spec"]["selector"]["matchLabels"]
            assert chosen(manifests, selector) == {f"{kind} {manifest['metadata']['name']}"}
    ours = {"Deployment anchorrec"}
    assert chosen(manifests, find(manifests, "Service", "anchorrec")["spec"]["selector"]) == ours
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert chosen(manifests, budget["spec"]["selector"]["matchLabels"]) == ours
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"] == {
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "anchorrec"
        }  # fmt: skip


def test_replicas_are_spread_over_machines_and_zones(manifests: list[Manifest], pod: Manifest) -> None:
    spread = pod["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for each in spread:
        assert chosen(manifests, each["labelSelector"]["matchLabels"]) == {"Deployment anchorrec"}


def test_a_pod_has_the_time_to_drain(settings: Settings, pod: Manifest, container: Manifest) -> None:
    waits_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    in_all_s = waits_s + settings.drain_delay_s + settings.drain_s + CLOSING_S
    assert pod["spec"]["terminationGracePeriodSeconds"] >= in_all_s
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] <= settings.drain_delay_s
    assert settings.drain_s > settings.request_timeout_s  # the longest request ends


def test_a_rollout_never_has_fewer_replicas_than_before(deployment: Manifest) -> None:
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}
    }  # fmt: skip


def test_the_cronjob_is_only_a_template_for_the_retraining_hook(settings: Settings, manifests: list[Manifest]) -> None:
    cron_job = find(manifests, "CronJob", str(settings.retrain_kubernetes_cronjob))["spec"]
    assert (cron_job["concurrencyPolicy"], cron_job["suspend"]) == ("Forbid", True)
    assert settings.retrain_schedule is not None  # the service has the clock
    assert cron_job["jobTemplate"]["spec"]["activeDeadlineSeconds"] == settings.retrain_timeout_s
    (container,) = cron_job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["python", "-m", "trainer"]


def test_trainer_and_service_have_the_same_volumes_at_the_same_paths(
    settings: Settings, manifests: list[Manifest], pod: Manifest, container: Manifest
) -> None:
    retrain = settings.data_folder / "retrain"
    (trainer,) = (template for owner, template in pods(manifests) if owner == "CronJob retrain")
    shared = [retrain] if "://" in settings.registry else [retrain, Path(settings.registry)]
    for path in shared:
        assert volume_at(pod, container, path) == volume_at(trainer, trainer["spec"]["containers"][0], path)
    bench = next(template for owner, template in pods(manifests) if owner == "Deployment workbench")
    for template, read_only in ((trainer, True), (bench, False)):
        at = volume_at(template, template["spec"]["containers"][0], settings.retrain_data or Path())
        assert at == ("training", "data/current", read_only)


def volume_at(template: Manifest, container: Manifest, path: Path) -> tuple[str, str, bool]:
    """The claim behind a path, the path within it, and whether it may only be read."""
    mounts = [mount for mount in container["volumeMounts"] if path.is_relative_to(mount["mountPath"])]
    mount = max(mounts, key=lambda each: len(each["mountPath"]))
    (volume,) = (each for each in template["spec"]["volumes"] if each["name"] == mount["name"])
    within = Path(mount.get("subPath", "")) / path.relative_to(mount["mountPath"])
    return volume["persistentVolumeClaim"]["claimName"], str(within), mount.get("readOnly", False)


def test_sqlite_files_are_on_the_pods_own_disk(settings: Settings, pod: Manifest, container: Manifest) -> None:
    (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == str(settings.data_folder))
    (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == mount["name"])
    assert "emptyDir" in volume


def test_keys_are_a_folder_so_that_a_changed_secret_arrives(
    manifests: list[Manifest], pod: Manifest, container: Manifest, name: str
) -> None:
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "api-keys")
    (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == "api-keys")
    assert "subPath" not in mount
    assert volume["secret"].get("optional", False) == (name == "dev")
    file = environment(manifests, container)["RECO_API_KEYS_FILE"]
    assert file == ("" if name == "dev" else f"{mount['mountPath']}/keys.jsonl")


def test_scaling_uses_cpu_and_an_existing_metric(manifests: list[Manifest], settings: Settings, name: str) -> None:
    scalers = of_kind(manifests, "HorizontalPodAutoscaler")
    assert len(scalers) == (name != "dev")
    for scaler in scalers:
        cpu, pods_metric = scaler["spec"]["metrics"]
        assert cpu["resource"]["name"] == "cpu"
        metric = pods_metric["pods"]
        assert f"\n{metric['metric']['name']} ".encode() in Metrics().render()
        # Long before requests are refused.
        assert int(metric["target"]["averageValue"]) * 10 < settings.max_in_flight


def test_all_traffic_is_denied_except_by_a_rule(manifests: list[Manifest], name: str) -> None:
    deny = find(manifests, "NetworkPolicy", "deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert {} not in policy["spec"].get("ingress", []) + policy["spec"].get("egress", [])
    for owner in ("CronJob retrain", "Deployment workbench"):
        template = dict(pods(manifests))[owner]
        reached = [rule for policy in policies(manifests, template) for rule in policy.get("egress", ())]
        ports = {port["port"] for rule in reached for port in rule["ports"]}
        assert ports == ({443, 53} if name == "bucket" else set()), "only volumes, or the store and DNS"


def test_only_callers_and_prometheus_reach_the_service(manifests: list[Manifest], pod: Manifest) -> None:
    rules = [rule for policy in policies(manifests, pod) for rule in policy.get("ingress", ())]
    assert {port["port"]: rule["from"] for rule in rules for port in rule["ports"]} == {
        "http": [{"namespaceSelector": {"matchLabels": {"anchorrec.io/calls": "true"}}}],
        "admin": [{"namespaceSelector": {"matchLabels": {"anchorrec.io/scrapes": "true"}}}],
    }


def test_the_service_reaches_dns_redis_and_the_api_server(manifests: list[Manifest], pod: Manifest, name: str) -> None:
    rules = [rule for policy in policies(manifests, pod) for rule in policy.get("egress", ())]
    ports = {port["port"] for rule in rules for port in rule["ports"]}
    milvus = {19530} if name == "milvus" else set()
    assert ports == {53, 443, 6443} | ({"redis"} if name == "dev" else {6379, 6380, 26379}) | milvus


def test_the_service_and_what_loads_milvus_reach_it_at_the_address_of_the_settings(
    manifests: list[Manifest], settings: Settings, container: Manifest, name: str
) -> None:
    reaching = {
        owner: template["spec"]["containers"][0]
        for owner, template in pods(manifests)
        for policy in policies(manifests, template)
        if any(port["port"] == 19530 for rule in policy.get("egress", ()) for port in rule.get("ports", ()))
    }
    if name != "milvus":
        assert (reaching, settings.milvus_uri) == ({}, None)
        return
    assert settings.milvus_token is not None
    assert reaching.pop("Deployment anchorrec") is container
    assert reaching.keys() == {"Deployment milvus-loader", "CronJob milvus-prune"}
    for one in reaching.values():
        assert environment(manifests, one) == {"MILVUS_URI": settings.milvus_uri, "MILVUS_TOKEN": "user:password"}
        assert (one["image"], one["args"][4]) == (container["image"], settings.registry)
        assert one["args"][:3] == ["python", "-m", "index"]
        assert one["args"][3] in {command.name for command in app.registered_commands}
    loader = find(manifests, "Deployment", "milvus-loader")["spec"]
    assert (loader["replicas"], loader["strategy"]) == (1, {"type": "Recreate"})


def test_pod_security_restricted_is_enforced(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_root_is_read_only_and_what_is_written_is_bounded(manifests: list[Manifest], name: str) -> None:
    for owner, template in pods(manifests):
        for container in containers(template):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, owner
            limits, requests = container["resources"]["limits"], container["resources"]["requests"]
            assert "memory" in limits, owner
            assert {"cpu", "memory"} <= requests.keys(), owner
        if name != "dev":
            assert all("sizeLimit" in v["emptyDir"] for v in template["spec"]["volumes"] if "emptyDir" in v), owner


def test_images_have_a_tag_and_none_is_latest(manifests: list[Manifest]) -> None:
    images = {container["image"] for _, template in pods(manifests) for container in containers(template)}
    assert all(image.partition(":")[2] not in ("", "latest") for image in images), images


def test_no_pod_replaces_the_images_init(manifests: list[Manifest]) -> None:
    assert not [each["name"] for _, template in pods(manifests) for each in containers(template) if "command" in each]


def test_pods_that_use_a_gpu_request_one(manifests: list[Manifest], name: str) -> None:
    gpu_pods = {
        owner: (spec.get("nodeSelector"), [each["key"] for each in spec.get("tolerations", ())])
        for owner, template in pods(manifests)
        for spec in [template["spec"]]
        if any("nvidia.com/gpu" in each["resources"]["limits"] for each in containers(template))
    }
    node = ({"nvidia.com/gpu.present": "true"}, ["nvidia.com/gpu"])
    assert gpu_pods == ({"Deployment anchorrec": node, "CronJob retrain": node} if name == "gpu" else {})


def test_every_skipped_policy_has_a_reason(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        for key, value in manifest["metadata"].get("annotations", {}).items():
            if key.startswith("checkov.io/skip"):
                check, _, reason = value.partition("=")
                assert check.startswith("CKV"), value
                assert len(reason.split()) >= 2, value


def test_everything_is_in_one_namespace(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    assert {manifest["metadata"].get("namespace") for manifest in manifests if manifest is not namespace} == {
        namespace["metadata"]["name"]
    }
