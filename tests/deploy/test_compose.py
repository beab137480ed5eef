"""deploy/compose.yaml: valid, and consistent with the service, the images and the manifests."""

import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from built_manifests import find, overlay
from dockerfile_stages import dockerfile_stages

from service.settings import PREFIX, Settings, load_settings

HERE = Path(__file__).parents[2]
FILE = HERE / "deploy" / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"service": "service", "trainer": "trainer"}  # and the stage of the Dockerfile

every_service = pytest.mark.parametrize("name", SERVICES)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As the service in its container reads them: the image's, and over them those of the file."""
    for variable, value in (dockerfile_stages()["service"].environment() | SERVICES["service"]["environment"]).items():
        monkeypatch.setenv(variable, value)
    return load_settings()


def test_it_is_valid_by_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_all_services_exist() -> None:
    assert set(SERVICES) == {"proxy", "service", "trainer", "redis", "prometheus", "grafana"}
    assert SERVICES["service"]["scale"] == 2


@every_service
def test_no_service_has_root_capabilities_or_a_writable_root_file_system(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name in OURS:
        ((user,),) = dockerfile_stages()[service["build"]["target"]].words("USER")
        assert "user" not in service
    else:
        user = service["user"]
    assert user.split(":")[0] not in {"0", "root"}


@every_service
def test_every_long_running_service_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    in_image = name in OURS and bool(dockerfile_stages()[OURS[name]].words("HEALTHCHECK"))
    assert ("healthcheck" in service or in_image) == (service.get("restart") == "unless-stopped")


@every_service
def test_what_is_mounted_is_in_the_repository_or_a_named_volume(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source, _, rest = mount.partition(":")
        if source.startswith("."):
            assert (FILE.parent / source).exists(), mount
            assert rest.endswith(":ro"), mount
        else:
            assert not rest or source in COMPOSE["volumes"], mount


@every_service
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


def test_images_of_others_are_pinned_to_a_version_and_redis_is_that_of_the_cluster() -> None:
    for name, service in SERVICES.items():
        assert name in OURS or service["image"].partition(":")[2][:1].isdigit() or ":v" in service["image"]
    redis = find(overlay("dev"), "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"][0]
    assert SERVICES["redis"]["image"] == redis["image"]


def test_every_variable_is_a_setting_and_all_together_are_valid(settings: Settings) -> None:
    assert settings.event_log == "redis"
    others = [name for name, service in SERVICES.items() if name != "service" for _ in service.get("environment", {})]
    assert not [v for name in others for v in SERVICES[name]["environment"] if v.startswith(PREFIX)]


def test_the_service_has_time_to_drain_and_trusts_the_proxys_network(settings: Settings) -> None:
    assert seconds(SERVICES["service"]["stop_grace_period"]) > settings.drain_delay_s + settings.drain_s
    (network,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    assert settings.trusted_proxies == (network["subnet"],)
    assert ip_network(network["subnet"]).is_private


def test_volumes_are_mounted_at_the_paths_of_the_images(settings: Settings) -> None:
    targets = [mount.split(":")[-1] for mount in SERVICES["service"]["volumes"]]
    assert {str(settings.registry), str(settings.data_folder)} <= set(targets)


def test_the_demo_shop_is_made_as_in_the_dev_overlay() -> None:
    pod = find(overlay("dev"), "Deployment", "anchorrec")["spec"]["template"]["spec"]
    shell, options, script = next(c for c in pod["initContainers"] if c["name"] == "shop")["args"]
    assert SERVICES["trainer"]["command"] == [shell, options, script.replace("$", "$$")]


def test_prometheus_scrapes_the_service_by_its_name_and_port(settings: Settings) -> None:
    prometheus = yaml.safe_load((FILE.parent / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (dns,) = [entry for job in prometheus["scrape_configs"] for entry in job.get("dns_sd_configs", ())]
    assert (dns["names"], dns["port"]) == (["service"], settings.port)
