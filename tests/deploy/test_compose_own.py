"""deploy/compose.own.yaml over compose.yaml: own bundles and keys, and a console that only this machine reaches."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_stages import dockerfile_stages

from service.settings import Settings, load_settings

HERE = Path(__file__).parents[2]
FILE = HERE / "deploy" / "compose.own.yaml"
BASE: dict[str, Any] = yaml.safe_load((FILE.parent / "compose.yaml").read_text(encoding="utf-8"))["services"]
OWN: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As the service in that container reads them: the image's, those of compose.yaml, and over them its own."""
    image = dockerfile_stages()["service"].environment()
    for variable, value in (image | BASE["service"]["environment"] | OWN[name]["environment"]).items():
        monkeypatch.setenv(variable, "" if value == "${ANCHORREC_IMAGES:-}" else value)  # as where it is unset
    return load_settings()


def test_it_is_valid_by_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_console_is_on_its_admin_port_with_keys_and_on_no_other_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not settings_of("service", monkeypatch).shows_console
    settings = settings_of("console", monkeypatch)
    assert settings.shows_console
    assert OWN["console"]["ports"] == [f"127.0.0.1:{settings.admin_port}:{settings.admin_port}"]
    assert OWN["console"]["scale"] == 1
    assert OWN["console"]["extends"] == {"file": "compose.yaml", "service": "service"}


@pytest.mark.parametrize("name", ["service", "console"])
def test_bundles_and_keys_are_mounted_where_the_service_looks_for_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, monkeypatch)
    targets = [mount.rpartition("}:")[2] for mount in OWN[name]["volumes"]]
    assert targets == [settings.registry, f"{settings.api_keys_file}:ro"]


def test_the_page_has_the_commands_of_the_file() -> None:
    page = (HERE / "docs" / "image.md").read_text(encoding="utf-8")
    for line in FILE.read_text(encoding="utf-8").splitlines()[1:3]:
        assert line.strip("# ").partition("       ")[0] in page
