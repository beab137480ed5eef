"""docs/kubernetes.md describes the existing manifests."""

import os
import re
from pathlib import Path

import yaml
from built_manifests import find, of_kind, overlay
from prometheus_client.parser import text_string_to_metric_families

from deploy.manifests import FOLDER, build, parsed
from service.telemetry.metrics import Metrics

PAGE = (FOLDER.parent / "docs" / "kubernetes.md").read_text(encoding="utf-8")


def example(beginning: str) -> str:
    """The code block that begins so."""
    (block,) = (text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if text.startswith(beginning))
    return str(block)


def test_an_overlay_of_ones_own_builds_and_changes_what_it_says(tmp_path: Path) -> None:
    ours = os.path.relpath(FOLDER, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(example("# kustomization").replace("anchorrec/deploy", ours))
    manifests = parsed(build(tmp_path))
    (container,) = find(manifests, "Deployment", "anchorrec")["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("images.shop.example/anchorrec-service@sha256:")
    merged = find(manifests, "ConfigMap", container["envFrom"][0]["configMapRef"]["name"])["data"]
    assert (merged["RECO_RETRAIN_SCHEDULE"], merged["RECO_EVENT_LOG"]) == ("0 1 * * 1", "redis")
    assert merged["RECO_TRUSTED_PROXIES"] == "10.244.0.0/16"
    claims = of_kind(manifests, "PersistentVolumeClaim")
    assert {claim["spec"]["storageClassName"] for claim in claims} == {"shared-files"}
    spec = find(manifests, "Ingress", "anchorrec")["spec"]
    assert [spec["rules"][0]["host"]] == spec["tls"][0]["hosts"] == ["reco.shop.example"]


def test_the_adapter_provides_the_metric_that_the_autoscaler_uses() -> None:
    (rule,) = yaml.safe_load(example("rules:"))["rules"]["custom"]
    series = rule["seriesQuery"].partition("{")[0]
    (scaler,) = of_kind(overlay("cpu"), "HorizontalPodAutoscaler")
    assert series == scaler["spec"]["metrics"][1]["pods"]["metric"]["name"]
    kinds = {family.name: family.type for family in text_string_to_metric_families(Metrics().render().decode())}
    assert kinds[series] == "gauge"  # so that a mean over time is what it says


def test_the_page_lists_the_secrets_that_the_manifests_use() -> None:
    documented = set(re.findall(r"^\| `([a-z-]+)` \| `[a-z.]+`", PAGE, re.M))
    manifests = overlay("cpu")
    pod = find(manifests, "Deployment", "anchorrec")["spec"]["template"]["spec"]
    used = {variable["valueFrom"]["secretKeyRef"]["name"] for variable in pod["containers"][0]["env"]
             if "secretKeyRef" in variable.get("valueFrom", {})}  # fmt: skip
    used |= {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    used |= {each["secretName"] for each in find(manifests, "Ingress", "anchorrec")["spec"]["tls"]}
    assert documented == used


def test_every_object_that_a_command_names_is_there() -> None:
    named = set(re.findall(r"(deployment|service)/([a-z]+)", PAGE))
    assert named
    for kind, name in named:
        assert find(overlay("cpu"), kind.capitalize(), name)
    for label in re.findall(r"anchorrec\.io/[a-z]+", PAGE):
        assert label in build(FOLDER / "overlays" / "cpu")
